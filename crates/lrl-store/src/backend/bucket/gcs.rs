//! How a bucket of Google Cloud Storage is reached.

use std::sync::Arc;

use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey as Key};

use super::address::{Address, Connection, client_options, known};
use crate::error::Result;

pub(super) fn reach(address: &Address, variables: &[(String, String)]) -> Result<Connection> {
    let mut builder = GoogleCloudStorageBuilder::new().with_bucket_name(&address.bucket);
    for (key, value) in known::<Key>(variables) {
        builder = builder.with_config(key, value);
    }
    let mut endpoint = "https://storage.googleapis.com".to_string();
    for parameter in &address.parameters {
        match (parameter.0.as_str(), &parameter.1) {
            ("endpoint", value) => {
                endpoint = address.endpoint(value)?.as_str().trim_end_matches('/').to_string();
                builder = builder.with_base_url(&endpoint);
            }
            _ => return Err(address.unknown(parameter, "endpoint=URL")),
        }
    }
    let named = |key| builder.get_config_value(&key).filter(|value| !value.is_empty());
    let keys = [Key::ServiceAccount, Key::ServiceAccountKey, Key::ApplicationCredentials];
    if keys.into_iter().all(|key| named(key).is_none()) && named(Key::SkipSignature).as_deref() != Some("true") {
        return Err(address.wrong(
            "the key to the bucket is not set: set GOOGLE_APPLICATION_CREDENTIALS to a service account's file \
             (docs/REMOTE.md)",
        ));
    }
    let client = builder.with_retry(address.retry()).with_client_options(client_options()).build();
    let client = Arc::new(client.map_err(|e| address.wrong(e.to_string()))?);
    Ok(Connection { client, endpoint, keys: "the file that GOOGLE_APPLICATION_CREDENTIALS names" })
}
