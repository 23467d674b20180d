//! How a bucket of S3-compatible storage is reached.

use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey as Key};

use super::address::{Address, Connection, client_options, known};
use crate::error::Result;
use crate::hint::{AddHint, Hint};

pub(super) fn reach(address: &Address, variables: &[(String, String)]) -> Result<Connection> {
    let mut builder = AmazonS3Builder::new().with_bucket_name(&address.bucket);
    for (key, value) in known::<Key>(variables) {
        builder = builder.with_config(key, value);
    }
    let mut virtual_hosts = None;
    for parameter in &address.parameters {
        match (parameter.0.as_str(), parameter.1.as_str()) {
            ("endpoint", value) => builder = builder.with_config(Key::S3Endpoint, value),
            ("region", value) => builder = builder.with_region(value),
            ("style", "path") => virtual_hosts = Some(false),
            ("style", "virtual") => virtual_hosts = Some(true),
            // Whoever reads the file of profiles has chosen the key by it.
            ("profile", _) => {}
            _ => {
                let known = "endpoint=URL, region=NAME, style=path|virtual, profile=NAME";
                return Err(address.unknown(parameter, known));
            }
        }
    }
    let named = |key| builder.get_config_value(&key).filter(|value| !value.is_empty());
    let has_keys = named(Key::AccessKeyId).is_some() && named(Key::SecretAccessKey).is_some();
    let elsewhere = [Key::WebIdentityTokenFile, Key::MetadataEndpoint]
        .into_iter()
        .chain([Key::ContainerCredentialsRelativeUri, Key::ContainerCredentialsFullUri]);
    if !has_keys && elsewhere.into_iter().all(|key| named(key).is_none()) {
        return Err(address.wrong("the key to the bucket is not set".hint(Hint::BucketKey)));
    }
    let region = named(Key::Region).or_else(|| named(Key::DefaultRegion)).unwrap_or_else(|| "us-east-1".into());
    let mut endpoint = format!("https://s3.{region}.amazonaws.com");
    if let Some(named) = named(Key::S3Endpoint).or_else(|| named(Key::Endpoint)) {
        let mut at = address.endpoint(&named)?;
        if virtual_hosts == Some(true) {
            let host = format!("{}.{}", address.bucket, at.host_str().unwrap_or_default());
            at.set_host(Some(&host)).map_err(|e| address.wrong(format!("{host} is no host: {e}")))?;
        }
        builder = builder.with_config(Key::S3Endpoint, at.as_str().trim_end_matches('/'));
        endpoint = named;
    }
    if let Some(style) = virtual_hosts {
        builder = builder.with_virtual_hosted_style_request(style);
    }
    let client = builder
        .with_region(region)
        .with_retry(address.retry())
        .with_client_options(client_options())
        // Not every server deletes many at once, and lrl never does.
        .with_disable_bulk_delete(true)
        .build();
    let client = Arc::new(client.map_err(|e| address.wrong(e.to_string()))?);
    let keys = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, with temporary keys at AWS_SESSION_TOKEN too";
    Ok(Connection { client, endpoint, keys })
}
