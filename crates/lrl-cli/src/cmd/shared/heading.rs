//! The manual's heading.

use crate::context::Context;

/// Prints the manual's heading of `what` is done, with the site's name where it is another one.
pub fn heading(context: &Context<'_>, what: &str) {
    let rule = "=".repeat(60);
    let name = if context.site().is_ok_and(|site| site.is_manual()) {
        "Little Research Lab"
    } else {
        &context.cli.global.source
    };
    context.term.say(format!("{rule}\n{name}: {what}\n{rule}\n"));
}
