//! `lrl key`: who can open an encrypted store.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

use lrl_store::crypt::Class;
use lrl_store::error::{Error, Place};
use lrl_store::format::key::Credential;
use lrl_store::store::key_slots;
use lrl_store::store::key_slots::Named;
use lrl_store::time::time_of;
use serde_json::{Value, json};

use super::shared::{open, same_store};
use crate::args::{KeyArgs, KeyVerb, NewCredentialArgs};
use crate::context::Context;
use crate::credential;
use crate::exit::{Exit, Result};
use crate::render::table::{Side, Table};
use crate::render::{entry, units};

/// Does what the command below `key` says.
pub fn run(context: &Context<'_>, args: &KeyArgs) -> Result {
    if let KeyVerb::MakeFile { file } = &args.command {
        return make_file(context, file);
    }
    let paths = context.paths()?;
    same_store::require_backup_dir(context, &paths)?;
    let storage = open::locked_backend(context, &paths.store)?;
    same_store::compare_storage(context, &paths.store, &*storage)?;
    if !lrl_store::store::exists(&*storage)? {
        return Err(Error::NoStore { what: Place::Store, path: paths.store.to_string().into() }.into());
    }
    if !key_slots::is_encrypted(&*storage)? {
        return Err(Error::refused(format!("{} is not encrypted: it has no keys", paths.store)).into());
    }
    let now = time_of(SystemTime::now());
    // Also for the list: who may see it has a key.
    let given = context.credential()?;
    let opened = key_slots::open(&*storage, given.as_ref())?;
    match &args.command {
        KeyVerb::MakeFile { .. } | KeyVerb::List => list(context, &key_slots::slots(&*storage)?, &opened.slot),
        KeyVerb::Add(args) => {
            let class = if args.writer { Class::Writer } else { Class::Full };
            let added = key_slots::add(&*storage, &opened, class, &new(&args.new)?, &args.label, now)?;
            tell(context, "Added", &added)?;
            sheet(context, &added)
        }
        KeyVerb::Change(args) => {
            let class = opened.bundle.class();
            let added = key_slots::add(&*storage, &opened, class, &new(args)?, &opened.slot.slot.label, now)?;
            key_slots::remove(&*storage, &opened, opened.slot.id())?;
            tell(context, "Changed; now it is", &added)?;
            sheet(context, &added)
        }
        KeyVerb::Remove { key } => {
            let removed = key_slots::remove(&*storage, &opened, key)?;
            if removed.slot.class == Class::Full {
                context.term.note("whoever has used this key may have kept the master key, which stays the same");
            }
            tell(context, "Removed", &removed)
        }
    }
}

fn new(args: &NewCredentialArgs) -> Result<Credential, Error> {
    match (&args.new_password_file, &args.new_key_file) {
        (Some(file), _) => credential::from_password_file(file),
        (None, Some(file)) => credential::from_key_file(file),
        (None, None) => Err(Error::Refused("a new key needs --new-password-file or --new-key-file".into())),
    }
}

fn make_file(context: &Context<'_>, path: &Path) -> Result {
    let text = Credential::new_key_file()?;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .map_err(Error::io("make the key file", path))?;
    let shown = path.display().to_string();
    if context.term.is_json() {
        context.term.json(&json!({ "success": true, "key_file": shown }))?;
    }
    context.term.say(format!("Wrote a new key file: {shown}"));
    context.term.say("Keep a copy away from this machine: what it opens, nothing else may.");
    Ok(Exit::Done)
}

fn document(slot: &Named) -> Value {
    json!({
        "id": slot.id(),
        "class": slot.slot.class,
        "opened_by": opened_by(slot),
        "label": slot.slot.label,
        "created": entry::iso(slot.slot.created),
    })
}

/// Says what opens a key.
pub fn opened_by(slot: &Named) -> &'static str {
    if slot.slot.argon2id.is_some() { "passphrase" } else { "key file" }
}

fn can(slot: &Named) -> &'static str {
    match slot.slot.class {
        Class::Full => "reads and writes",
        Class::Writer => "only writes",
    }
}

fn list(context: &Context<'_>, slots: &[Named], used: &Named) -> Result {
    if context.term.is_json() {
        let slots: Vec<Value> = slots.iter().map(document).collect();
        context.term.json(&json!({ "success": true, "keys": slots, "used": used.id() }))?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["key", "made", "opened by", "what it can do", "label"].map(|name| (name, Side::Left)));
    for slot in slots {
        let mark = if slot.name == used.name { " (used now)" } else { "" };
        table.row([
            slot.short().to_string(),
            units::moment(slot.slot.created.secs),
            opened_by(slot).into(),
            format!("{}{mark}", can(slot)),
            slot.slot.label.clone(),
        ]);
    }
    context.term.table(&table)?;
    Ok(Exit::Done)
}

/// What the recovery sheet must say of a new key.
fn sheet(context: &Context<'_>, slot: &Named) -> Result {
    context.term.say(format!("For the recovery sheet, {} in the store is:", slot.name));
    context.term.say(String::from_utf8_lossy(&slot.slot.encode()?).trim_end());
    Ok(Exit::Done)
}

fn tell(context: &Context<'_>, what: &str, slot: &Named) -> Result {
    if context.term.is_json() {
        context.term.json(&json!({ "success": true, "key": document(slot) }))?;
    }
    context.term.say(format!("{what} key {}: {}, opened by a {}", slot.short(), can(slot), opened_by(slot)));
    Ok(Exit::Done)
}
