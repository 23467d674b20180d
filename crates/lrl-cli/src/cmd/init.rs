//! `lrl init`: an empty store, made in advance; of an encrypted one its recovery sheet.

use lrl_store::backend::location::Location;
use lrl_store::error::Error;
use lrl_store::format::key::Credential;
use lrl_store::store::key_slots;
use serde_json::json;

use super::shared::{open, same_store};
use crate::args::InitArgs;
use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::resolve::Paths;

/// Makes the store; one that is there already is an error.
pub fn run(context: &Context<'_>, args: &InitArgs) -> Result {
    let paths = context.paths()?;
    let credential = credential(context, args, &paths)?;
    let created = open::create(context, &paths.store, credential.as_ref())?;
    // From now on this one is known there, whatever was before.
    let store_id = key_slots::store_id(&*open::locked_backend(context, &paths.store)?)?;
    same_store::remember(context, &paths.store, &store_id);
    if !created {
        return Err(Error::refused(format!("there is a store at {} already", paths.store)).into());
    }
    let shown = paths.store.to_string();
    let sheet = credential.map(|credential| recovery_sheet(context, &paths, &credential)).transpose()?;
    let mut document = json!({ "success": true, "store": shown, "store_id": store_id, "encrypted": sheet.is_some() });
    context.term.say(format!("Made an empty {}store at {shown}", if sheet.is_some() { "encrypted " } else { "" }));
    if paths.store.directory().is_none() {
        match open::probes_put_if_absent(context, &paths.store) {
            Ok(true) => document["conditional_writes"] = true.into(),
            Ok(false) => {
                document["conditional_writes"] = false.into();
                context.term.note(
                    "its server ignores If-None-Match, so it cannot keep two prunes apart: prune from one machine only, with --only-pruner",
                );
            }
            Err(error) => {
                context.term.note(format!("whether its server keeps two prunes apart could not be tried: {error}"))
            }
        }
    }
    if let Some(sheet) = sheet {
        context.term.say("");
        sheet.lines.iter().for_each(|line| context.term.say(line));
        document["key"] = sheet.key.into();
        document["recovery_sheet"] = sheet.lines.join("\n").into();
    }
    if context.term.is_json() {
        context.term.json(&document)?;
    }
    Ok(Exit::Done)
}

/// Returns what the store is encrypted with; none for a plain one, which must be meant.
fn credential(context: &Context<'_>, args: &InitArgs, paths: &Paths) -> Result<Option<Credential>> {
    let given = context.credential()?;
    let refused = |text: String| Err(Error::refused(text).into());
    match (args.encrypt, args.no_encryption, given) {
        (true, _, Some(given)) => Ok(Some(given)),
        (true, _, None) => refused(
            "an encrypted store needs a passphrase or a key file: put a passphrase into a file and name it with --password-file \
             (LRL_PASSWORD_FILE), or make a key file with `lrl key make-file FILE` and name it with --key-file (LRL_KEY_FILE)"
                .into(),
        ),
        (false, _, Some(_)) => refused(
            "a key was given: say --encrypt for a store that it opens, or take the key away (LRL_PASSWORD_FILE, LRL_PASSWORD_COMMAND, \
             LRL_KEY_FILE, lrl.toml) for a plain one"
                .into(),
        ),
        (false, false, None) if paths.store.directory().is_none() => refused(format!(
            "a store in a bucket should be encrypted: say --encrypt and give a passphrase or a key file; with --no-encryption {} becomes a \
             plain one: whoever can read the bucket, its host included, reads the database and every upload",
            paths.store
        )),
        (false, _, None) => Ok(None),
    }
}

struct Sheet {
    key: String,
    lines: Vec<String>,
}

/// Opens the new store once, as on an empty machine, and says how that is done.
fn recovery_sheet(context: &Context<'_>, paths: &Paths, credential: &Credential) -> Result<Sheet> {
    let storage = open::locked_backend(context, &paths.store)?;
    let opened = key_slots::open(&*storage, Some(credential))?;
    let store_id = key_slots::store_id(&*storage)?;
    let (what, variable, file) = match credential {
        Credential::Passphrase(_) => ("the passphrase", "LRL_PASSWORD_FILE", "lrl.pass"),
        Credential::File(_) => ("the key file", "LRL_KEY_FILE", "lrl.key"),
    };
    let place = match &paths.store {
        Location::Bucket(url) => url.clone(),
        Location::Directory(path) => std::path::absolute(path).unwrap_or(path.clone()).display().to_string(),
    };
    let mut lines = vec![
        "RECOVERY SHEET".to_string(),
        "Print this page. Keep it, and a copy of the key, away from this machine: without the key nobody can".into(),
        "read the store, and there is no other way in.".into(),
        String::new(),
        format!("  Store     {place}"),
        format!("  Store id  {store_id}"),
        format!("  Key       {}, opened by {what}: ______________________________", opened.slot.short()),
        "            (write the passphrase here, or where the key file is kept)".into(),
        String::new(),
        "To restore on an empty machine:".into(),
        String::new(),
        "  1. Install lrl: the package (apt install ./lrl_*.deb), or the one file `lrl` of its archive.".into(),
        "     No compiler is needed; keep a copy with this page.".into(),
        format!("  2. Put {what} where only you can read it, and name that file:"),
        format!("       export {variable}=/root/{file}"),
    ];
    if paths.store.directory().is_none() {
        lines.push(
            "  3. Set the bucket's own key: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or --s3-credentials-file."
                .into(),
        );
    } else {
        lines.push("  3. Bring back a copy of the store's directory; any copy is the store.".into());
    }
    lines.extend([
        "  4. Look, and restore:".into(),
        format!("       export LRL_STORE={}", shlex::try_quote(&place).unwrap_or_default()),
        "       lrl snapshots".into(),
        "       lrl restore --data-dir ./data        (with --source NAME, if backups were made with it)".into(),
        String::new(),
        "If the store's directory `keys` is lost, the key opens nothing. This is the file that belongs there; it is no"
            .into(),
        format!("secret without the key. As {} in the store:", opened.slot.name),
        String::new(),
        String::from_utf8_lossy(&opened.slot.slot.encode()?).trim_end().to_string(),
    ]);
    Ok(Sheet { key: opened.slot.id().to_string(), lines })
}
