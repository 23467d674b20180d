//! Explains a server's errors to the user, and what to do next.

use std::io;

use object_store::client::{HttpError, HttpErrorKind};

use super::address::{Address, Connection};
use crate::error::{Error, Place};

/// Explains why a listing failed.
pub(super) fn unlisted(address: &Address, reached: &Connection, prefix: &str, error: &object_store::Error) -> Error {
    match explain(address, reached, "list", prefix, error) {
        // A listing has nothing that could be missing: an empty one is a page without names.
        Error::Missing { object } => Error::Remote {
            op: "list",
            object,
            detail: format!("{} says that it is not there; look at ?endpoint= and the bucket's name", reached.endpoint)
                .into(),
        },
        other => other,
    }
}

/// Describes what happened to which object, and what to do next.
pub(super) fn explain(
    address: &Address,
    reached: &Connection,
    op: &'static str,
    name: &str,
    error: &object_store::Error,
) -> Error {
    let object = || format!("{}/{name}", address.location());
    let text = error.to_string();
    let code = between(&text, "<Code>", "</Code>").unwrap_or_default();
    let (bucket, endpoint) = (&address.bucket, &reached.endpoint);
    let detail = match (code, error) {
        ("NoSuchBucket" | "ContainerNotFound", _) => {
            let path = format!("{}://{bucket} on {endpoint}", address.scheme);
            return Error::NoStore { what: Place::Bucket, path: path.into() };
        }
        ("RequestTimeTooSkewed" | "RequestExpired", _) => {
            "the server's clock and this machine's differ too much; set this one right (timedatectl shows it)".into()
        }
        ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "ExpiredToken" | "AuthFailure", _)
        | ("AuthenticationFailed" | "InvalidAuthenticationInfo", _)
        | (_, object_store::Error::Unauthenticated { .. }) => format!(
            "{endpoint} does not accept the key ({}); look at {}",
            if code.is_empty() { "401" } else { code },
            reached.keys
        ),
        ("AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect", _) => format!(
            "the bucket {bucket} is in another region{}; name it by ?region= or AWS_REGION",
            between(&text, "<Region>", "</Region>").map(|region| format!(" ({region})")).unwrap_or_default()
        ),
        ("NoSuchKey" | "BlobNotFound", _) | ("", object_store::Error::NotFound { .. }) => {
            return Error::Missing { object: object() };
        }
        ("InvalidRange", _) => return Error::corrupt(object(), "ends too early"),
        (_, object_store::Error::PermissionDenied { .. }) => format!(
            "the key may not do this in the bucket {bucket} on {endpoint}, or is a wrong one; \
             docs/REMOTE.md lists the permissions that it needs"
        ),
        ("SlowDown" | "ServiceUnavailable" | "TooManyRequests" | "RequestLimitExceeded" | "ServerBusy", _) => {
            format!(
                "{endpoint} asked to slow down, and still does after several tries; run the same command again later"
            )
        }
        _ if text.contains("redirect without LOCATION") => {
            format!(
                "{endpoint} does not have the bucket {bucket}: it is in another region; name it by ?region= or AWS_REGION"
            )
        }
        _ => match unreached(error) {
            Some(reason) => format!(
                "{endpoint} cannot be reached ({reason}); look at the network and at ?endpoint=, then run the same command again"
            ),
            None => format!(
                "{endpoint} says {}; run the same command again, and look there if it stays so",
                between(&text, "<Message>", "</Message>").map_or_else(
                    || text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect(),
                    |message| format!("{code}: {message}")
                )
            ),
        },
    };
    Error::Remote { op, object: object(), detail: detail.into() }
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    Some(text.split_once(from)?.1.split_once(to)?.0)
}

/// Returns whether the client itself has judged the failure, and made the request again where that could help. Its error type for that is
/// private.
pub(super) fn was_retried(error: &object_store::Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if error.to_string().starts_with("Error performing GET ") {
            return true;
        }
        next = error.source();
    }
    false
}

/// Returns why no answer came, if that is what happened: the innermost reason.
fn unreached(error: &object_store::Error) -> Option<String> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let (mut no_answer, mut reason) = (false, String::new());
    while let Some(error) = next {
        if let Some(http) = error.downcast_ref::<HttpError>() {
            no_answer |= !matches!(http.kind(), HttpErrorKind::Decode);
        }
        reason = match error.downcast_ref::<io::Error>() {
            Some(error) if error.kind() == io::ErrorKind::TimedOut => "no answer in time".into(),
            _ => error.to_string(),
        };
        next = error.source();
    }
    no_answer.then_some(reason)
}
