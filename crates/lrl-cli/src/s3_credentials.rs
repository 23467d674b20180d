//! The access key of an S3 bucket, where it is in a file: one that a setting names, one that the service manager hands over, or the profiles
//! of the `aws` command line. What is in the environment is completed, so the engine reads variables only.

use std::path::{Path, PathBuf};

use lrl_store::error::Error;
use zeroize::Zeroizing;

use crate::args::Global;
use crate::credential;
use crate::signal;
use crate::trust::{self, Refusal};

/// The name under which systemd's `LoadCredential=` gives a service the file.
pub const CREDENTIAL: &str = "lrl.s3-credentials-file";

/// Files with profiles are small.
const MOST_BYTES: u64 = 256 << 10;
const KEY: &str = "AWS_ACCESS_KEY_ID";
const SECRET: &str = "AWS_SECRET_ACCESS_KEY";
const TOKEN: &str = "AWS_SESSION_TOKEN";
const PROFILE: &str = "AWS_PROFILE";
/// Where other keys come from that the environment may name.
const ELSEWHERE: [&str; 4] = [
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_METADATA_ENDPOINT",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
];
/// Entries of profiles by which `aws` fetches a key from somewhere.
const FETCHED: [&str; 5] =
    ["credential_process", "sso_session", "sso_start_url", "role_arn", "web_identity_token_file"];

type Variables = Vec<(String, String)>;

/// Returns the variables with the key to the bucket at `url`, and with its profile's region and endpoint where they name none. The file of the
/// setting counts before the environment, that of the profiles after it; a `profile=` in the URL asks for a profile in any case.
///
/// # Errors
///
/// [`Error::Refused`] for a file that others can read, for a profile that is not there, and for one whose key `aws` would fetch.
pub fn complete(global: &Global, url: &str, variables: Variables) -> Result<Variables, Error> {
    if !url.starts_with("s3://") {
        return Ok(variables);
    }
    let set = |name: &str| variables.iter().find(|(known, value)| known == name && !value.is_empty());
    let in_url = profile_in(url);
    let named = in_url.clone().or_else(|| set(PROFILE).map(|(_, name)| name.clone()));
    let profile = named.clone().unwrap_or_else(|| "default".into());
    let own = global.s3_credentials_file.clone().filter(|file| !file.as_os_str().is_empty());
    if let Some(file) = trust::credential(CREDENTIAL).or(own) {
        let found = section(&read_secret(&file)?, &profile).ok_or_else(|| no_profile(&file, &profile))?;
        return with_key(variables, &found, &file, &profile);
    }
    let has_key = (set(KEY).is_some() && set(SECRET).is_some())
        || (named.is_none() && ELSEWHERE.into_iter().any(|name| set(name).is_some()));
    if has_key && in_url.is_none() {
        return Ok(variables);
    }
    let shared = set("AWS_SHARED_CREDENTIALS_FILE").map(|(_, file)| PathBuf::from(file));
    let is_named = named.is_some() || shared.is_some();
    let Some(file) = shared.or_else(|| in_home("credentials")) else { return Ok(variables) };
    if !is_named && !file.is_file() {
        return Ok(variables);
    }
    let found = match section(&read_secret(&file)?, &profile) {
        Some(found) => found,
        None if is_named => return Err(no_profile(&file, &profile)),
        None => return Ok(variables),
    };
    let config = set("AWS_CONFIG_FILE").map(|(_, file)| PathBuf::from(file)).or_else(|| in_home("config"));
    let config = config.map(|file| read_config(&file)).transpose()?.flatten();
    let mut found = found;
    found.extend(config.and_then(|text| section(&text, &profile)).unwrap_or_default());
    with_key(variables, &found, &file, &profile)
}

/// Returns the profile that a URL asks for.
fn profile_in(url: &str) -> Option<String> {
    let query = url.split_once('?')?.1;
    let found = query.split('&').find_map(|pair| pair.strip_prefix("profile="))?;
    (!found.is_empty()).then(|| found.to_string())
}

fn in_home(name: &str) -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute())?;
    Some(home.join(".aws").join(name))
}

fn no_profile(file: &Path, profile: &str) -> Error {
    Error::refused(format!(
        "{} has no profile [{profile}]; AWS_PROFILE, or `profile=` in the URL of the bucket, names another one",
        file.display()
    ))
}

fn read_secret(file: &Path) -> Result<Zeroizing<String>, Error> {
    let mut text = Zeroizing::new(Vec::with_capacity(MOST_BYTES as usize));
    trust::read_secret(file, MOST_BYTES, &mut text, &signal::interrupted).map_err(|refusal| match refusal {
        Refusal::Io(error) => Error::io("read the key of the bucket from", file)(error),
        Refusal::Untrusted(why) => Error::refused(why),
        Refusal::Interrupted => Error::Interrupted,
    })?;
    credential::hide_from_dumps();
    Ok(Zeroizing::new(String::from_utf8_lossy(&text).into_owned()))
}

/// Reads the file with regions and endpoints, if it is there. It names the server that gets the data: nobody else may write it.
fn read_config(file: &Path) -> Result<Option<String>, Error> {
    use std::io::Read;
    let mut text = Vec::new();
    match trust::open_unnamed(file) {
        Ok(open) => open.take(MOST_BYTES).read_to_end(&mut text).map_err(Error::io("read", file))?,
        Err(Refusal::Untrusted(why)) => return Err(Error::refused(why)),
        Err(Refusal::Interrupted) => return Err(Error::Interrupted),
        Err(Refusal::Io(_)) => return Ok(None),
    };
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
}

/// Returns the entries of a profile: `[name]`, in the configuration file `[profile name]`; `None` if it is not there.
fn section(text: &str, profile: &str) -> Option<Vec<(String, Zeroizing<String>)>> {
    let mut found: Option<Vec<_>> = None;
    let mut inside = false;
    for line in text.lines() {
        let is_nested = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| Some(rest.split_once(']')?.0.trim())) {
            inside = name == profile || name.strip_prefix("profile ").is_some_and(|name| name.trim() == profile);
            if inside {
                found.get_or_insert_default();
            }
        } else if let (true, false, Some((name, value))) = (inside, is_nested, line.split_once('=')) {
            let entry = (name.trim().to_ascii_lowercase(), Zeroizing::new(value.trim().to_string()));
            found.get_or_insert_default().push(entry);
        }
    }
    found
}

fn with_key(
    mut variables: Variables,
    found: &[(String, Zeroizing<String>)],
    file: &Path,
    profile: &str,
) -> Result<Variables, Error> {
    let value = |name: &str| found.iter().find(|(known, value)| known == name && !value.is_empty());
    let (Some((_, key)), Some((_, secret))) = (value("aws_access_key_id"), value("aws_secret_access_key")) else {
        let place = format!("profile [{profile}] of {}", file.display());
        return Err(Error::refused(match FETCHED.into_iter().find(|name| value(name).is_some()) {
            Some(how) => format!(
                "{place} has no key but `{how}`, which lrl does not follow; `aws configure export-credentials --profile {profile} --format env` \
                 prints a key for the environment"
            ),
            None => format!("{place} has no aws_access_key_id and aws_secret_access_key"),
        }));
    };
    variables.retain(|(name, _)| ![KEY, SECRET, TOKEN].contains(&name.as_str()));
    let mut add = |name: &str, value: &str| variables.push((name.into(), value.into()));
    add(KEY, key);
    add(SECRET, secret);
    if let Some((_, token)) = value("aws_session_token") {
        add(TOKEN, token);
    }
    for (entry, name, others) in [
        ("region", "AWS_REGION", ["AWS_REGION", "AWS_DEFAULT_REGION"]),
        ("endpoint_url", "AWS_ENDPOINT_URL", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"]),
    ] {
        let is_set = variables.iter().any(|(known, value)| others.contains(&known.as_str()) && !value.is_empty());
        if let (false, Some((_, value))) = (is_set, value(entry)) {
            variables.push((name.into(), value.to_string()));
        }
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{profile_in, section, with_key};
    use lrl_store::error::Error;
    use proptest::prelude::*;

    const TEXT: &str = "# keys\n[default]\naws_access_key_id = AK1\naws_secret_access_key=a+b/c=\nregion = eu-central-1\ns3 =\n    region = nested\n\n\
                        [profile far]\nAWS_ACCESS_KEY_ID=AK2\naws_secret_access_key = two\naws_session_token = t\n; a comment\n\
                        [fetched]\ncredential_process = /bin/get\n[empty]\n";

    fn keys(profile: &str, before: &[(&str, &str)]) -> Result<Vec<(String, String)>, Error> {
        let before = before.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let mut found = with_key(before, &section(TEXT, profile).unwrap(), Path::new("c"), profile)?;
        found.sort();
        Ok(found)
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn a_profile_gives_its_key_and_what_the_environment_lacks() {
        let mine = [("AWS_ACCESS_KEY_ID", "AK1"), ("AWS_REGION", "eu-central-1"), ("AWS_SECRET_ACCESS_KEY", "a+b/c=")];
        assert_eq!(keys("default", &[]).unwrap(), pairs(&mine));
        let old = [("AWS_ACCESS_KEY_ID", "old"), ("AWS_SESSION_TOKEN", "old"), ("AWS_DEFAULT_REGION", "here")];
        let far = [
            ("AWS_ACCESS_KEY_ID", "AK2"),
            ("AWS_DEFAULT_REGION", "here"),
            ("AWS_SECRET_ACCESS_KEY", "two"),
            ("AWS_SESSION_TOKEN", "t"),
        ];
        assert_eq!(keys("far", &old).unwrap(), pairs(&far));
        assert!(!keys("default", &old).unwrap().iter().any(|(name, _)| name == "AWS_SESSION_TOKEN"));
        assert!(section(TEXT, "none").is_none());
    }

    #[test]
    fn what_lrl_does_not_follow_is_named() {
        let text = |profile| keys(profile, &[]).unwrap_err().to_string();
        assert!(text("fetched").contains("`credential_process`") && text("fetched").contains("export-credentials"));
        assert!(text("empty").contains("has no aws_access_key_id"));
    }

    #[test]
    fn the_url_names_a_profile() {
        for (url, profile) in [
            ("s3://b/p?region=x&profile=far", Some("far")),
            ("s3://b/p?profile=", None),
            ("s3://b/p?myprofile=x", None),
            ("s3://b/profile=x", None),
        ] {
            assert_eq!(profile_in(url).as_deref(), profile, "{url}");
        }
    }

    proptest! {
        #[test]
        fn no_file_breaks_the_reader(text in "[\\[\\]=a-c \n#;]{0,80}") {
            let _ = section(&text, "a");
        }
    }
}
