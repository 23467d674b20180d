//! The first page: that of `lrl report`.

use super::super::answer::Answer;
use super::frame;
use super::site::Asked;
use crate::cmd::report::gather;
use crate::cmd::report::page::{self as report, verdict};
use crate::exit::Result;
use crate::render::names::Names;

/// Shows the state.
pub fn page(asked: &Asked<'_>) -> Result<Answer> {
    let site = asked.site;
    let with = gather::Asked { limits: site.limits, names: Names::Shown, opened: Some(asked.store) };
    let (page, failure) = gather::page(site.context, with)?;
    if let Some(failure) = failure {
        return Err(failure);
    }
    let html = frame::page(site, &verdict::title(&page), |h| {
        verdict::write(h, &page);
        report::parts(h, &page);
    });
    Ok(Answer::Page(200, html))
}
