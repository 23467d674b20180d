//! The environment's variables for buckets.

use lrl_store::error::Error;

/// Variables that name files with keys to buckets.
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
const CREDENTIALS_FILES: [&str; 3] =
    ["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH"];

/// Collects them; files that they name must be safe from others.
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
pub fn read() -> Result<Vec<(String, String)>, Error> {
    use lrl_store::backend::bucket::VARIABLES;

    use crate::trust;

    let of_bucket = |name: String| VARIABLES.iter().any(|start| name.starts_with(start)).then_some(name);
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((of_bucket(name.into_string().ok()?)?, value.into_string().ok()?)));
    let variables: Vec<(String, String)> = variables.collect();
    for (_, file) in variables.iter().filter(|(name, _)| CREDENTIALS_FILES.contains(&name.as_str())) {
        if let Err(trust::Refusal::Untrusted(why)) = trust::check_secret(std::path::Path::new(file)) {
            return Err(Error::refused(why));
        }
    }
    Ok(variables)
}

/// Collects none: this program knows no buckets.
#[cfg(not(any(feature = "s3", feature = "gcs", feature = "azure")))]
pub fn read() -> Result<Vec<(String, String)>, Error> {
    Ok(Vec::new())
}
