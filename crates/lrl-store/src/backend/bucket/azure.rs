//! How a container of Azure's blob storage is reached.

use std::sync::Arc;

use object_store::azure::{AzureConfigKey as Key, MicrosoftAzureBuilder};

use super::address::{Address, Connection, client_options, known};
use crate::error::Result;

pub(super) fn reach(address: &Address, variables: &[(String, String)]) -> Result<Connection> {
    let mut builder = MicrosoftAzureBuilder::new().with_container_name(&address.bucket);
    for (key, value) in known::<Key>(variables) {
        builder = builder.with_config(key, value);
    }
    for parameter in &address.parameters {
        match (parameter.0.as_str(), &parameter.1) {
            ("endpoint", value) => builder = builder.with_endpoint(address.endpoint(value)?.to_string()),
            ("account", value) => builder = builder.with_account(value),
            _ => return Err(address.unknown(parameter, "endpoint=URL, account=NAME")),
        }
    }
    let named = |key| builder.get_config_value(&key).filter(|value| !value.is_empty());
    let is_emulator = named(Key::UseEmulator).as_deref() == Some("true");
    let Some(account) = named(Key::AccountName).or_else(|| is_emulator.then(|| "devstoreaccount1".into())) else {
        return Err(
            address.wrong("the account is not set: set AZURE_STORAGE_ACCOUNT_NAME, or ?account= (docs/REMOTE.md)")
        );
    };
    let keys = [Key::AccessKey, Key::SasKey, Key::Token, Key::ClientId, Key::MsiEndpoint, Key::UseAzureCli];
    if !is_emulator && keys.into_iter().all(|key| named(key).is_none()) {
        return Err(
            address.wrong("the key to the container is not set: set AZURE_STORAGE_ACCOUNT_KEY (docs/REMOTE.md)")
        );
    }
    let endpoint = named(Key::Endpoint).unwrap_or_else(|| match is_emulator {
        true => "Azurite".into(),
        false => format!("https://{account}.blob.core.windows.net"),
    });
    let client = builder.with_retry(address.retry()).with_client_options(client_options()).build();
    let client = Arc::new(client.map_err(|e| address.wrong(e.to_string()))?);
    Ok(Connection { client, endpoint, keys: "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY" })
}
