//! What of a site is backed up: its databases and files, as the engine wants them.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::SystemTime;

use lrl_store::ops::backup::Options;
use lrl_store::set::own_files;
use lrl_store::source::database::source::{DatabaseSource, Discover};
use lrl_store::source::files::exclude::Excludes;
use lrl_store::source::files::include::Includes;
use lrl_store::source::files::kept_copies;

use crate::args::BackupArgs;
use crate::exit::{Failure, Result};
use crate::render::units;
use crate::resolve::Paths;
use crate::site::model::Site;
use crate::site::rules::Place;

/// Returns the options of a site, without what every backup has.
pub fn options(site: &Site, root: &Path, paths: &Paths, now: SystemTime) -> Result<Options> {
    let mut options = Options::site(root, &paths.backup_dir, now);
    let mut expected = Vec::new();
    for rule in &site.databases {
        match &rule.place {
            Place::Path(path) => {
                refuse_own(root, path)?;
                options.databases.push(DatabaseSource { path: path.clone().into_bytes(), file: root.join(path) });
            }
            Place::Pattern(pattern) => {
                expected.push((pattern.clone(), Includes::new(std::slice::from_ref(pattern))?));
            }
        }
    }
    options.secrets = Excludes::new(&secrets(site), &[])?;
    let plain = Excludes::new(&site.plain, &[])?;
    options.discover = Some(Discover { root: root.to_path_buf(), plain, expected });
    Ok(options)
}

/// Refuses lrl's own files as databases of the site: a backup of them would grow with each backup.
fn refuse_own(root: &Path, path: &str) -> Result<()> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let mut above = Path::new(path).ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty());
    let what = if above.any(|dir| own_files::is_store(&root.join(dir))) {
        "is in a store of lrl"
    } else if own_files::set_pattern(name).is_some() {
        "is a file of a set that lrl wrote"
    } else if kept_copies::is_kept(name.as_bytes()) {
        "is what a restore of lrl keeps"
    } else {
        return Ok(());
    };
    Err(Failure::Usage(format!(
        "{} {what}, and no database of the site: it must not be named as one",
        units::safe(path)
    )))
}

/// Returns the patterns of a site's secrets, each once.
pub fn secrets(site: &Site) -> Vec<String> {
    let mut known = BTreeSet::new();
    site.files.iter().flat_map(|rule| &rule.secret).filter(|pattern| known.insert(*pattern)).cloned().collect()
}

/// Returns what is left out of a site's files: by its rules, then by flags, of which the last that matches decides.
pub fn excludes(site: &Site, args: &BackupArgs) -> Result<Excludes> {
    let rules = site.files.iter().flat_map(|rule| &rule.exclude).chain(&args.exclude);
    let patterns: Vec<String> = rules.cloned().collect();
    let only: Vec<String> = site.files.iter().map(|rule| rule.place.text().to_string()).collect();
    Ok(Excludes::new(&patterns, &args.exclude_file)?.and_only(Includes::new(&only)?))
}
