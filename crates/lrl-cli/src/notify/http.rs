//! Makes one request within a time, in two tries. With a store in a bucket the only place of lrl that uses the network.

use std::time::Duration;

use super::ping::Request;

/// Makes the request. Without an answer after half of the time it is made again; so is one that could not be delivered, or that the server failed to
/// serve.
///
/// # Errors
/// What went wrong, without the URL.
pub fn send(request: &Request, limit: Duration) -> Result<(), String> {
    client::send(request, limit)
}

#[cfg(feature = "https")]
mod client {
    use std::error::Error;
    use std::time::{Duration, Instant};

    use reqwest::{Client, Method, StatusCode};
    use tokio::runtime::Builder;

    use super::super::ping::Request;

    /// The pause before the second try, at most.
    const PAUSE: Duration = Duration::from_secs(1);

    /// What a try came to.
    enum Failed {
        /// Another one may succeed.
        Try(String),
        /// Nothing would change.
        Ever(String),
    }

    pub(super) fn send(request: &Request, limit: Duration) -> Result<(), String> {
        // As for buckets; a provider that is installed already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        let until = Instant::now() + limit;
        let done = runtime.block_on(async {
            // Proxies are those of the environment, as for buckets.
            let agent = concat!("lrl/", env!("CARGO_PKG_VERSION"));
            let client = Client::builder().user_agent(agent).build().map_err(|e| why(&e.without_url()))?;
            let first = match once(&client, request, limit / 2).await {
                Ok(()) => return Ok(()),
                Err(Failed::Ever(why)) => return Err(why),
                Err(Failed::Try(why)) => why,
            };
            tokio::time::sleep(PAUSE.min(limit / 10)).await;
            let left = until.saturating_duration_since(Instant::now());
            match once(&client, request, left).await {
                Ok(()) => Ok(()),
                Err(Failed::Try(second) | Failed::Ever(second)) if second == first => Err(format!("{first}, twice")),
                Err(Failed::Try(second) | Failed::Ever(second)) => Err(format!("{first}, and then: {second}")),
            }
        });
        // A look-up of the name may hang for longer; nobody waits for it.
        runtime.shutdown_background();
        done
    }

    async fn once(client: &Client, request: &Request, limit: Duration) -> Result<(), Failed> {
        let method = if request.body.is_some() { Method::POST } else { Method::GET };
        let mut made = client.request(method, &request.url).timeout(limit);
        for (name, value) in &request.headers {
            made = made.header(*name, value);
        }
        if let Some(body) = &request.body {
            made = made.body(body.clone());
        }
        match tokio::time::timeout(limit, made.send()).await {
            Err(_) => Err(Failed::Try("there was no answer in time".into())),
            Ok(Err(error)) if error.is_timeout() => Err(Failed::Try("there was no answer in time".into())),
            Ok(Err(error)) if error.is_builder() => {
                Err(Failed::Ever("ping-url is no URL that can be requested".into()))
            }
            Ok(Err(error)) => Err(Failed::Try(why(&error.without_url()))),
            Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
            Ok(Ok(answer)) => {
                let status = answer.status();
                let why = format!("the server answered {status}");
                let again = status.is_server_error()
                    || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
                Err(if again { Failed::Try(why) } else { Failed::Ever(why) })
            }
        }
    }

    /// Returns the innermost reason: those around it say only that a request failed.
    fn why(error: &dyn Error) -> String {
        let mut inner = error;
        while let Some(source) = inner.source() {
            inner = source;
        }
        inner.to_string()
    }
}

#[cfg(not(feature = "https"))]
mod client {
    use std::time::Duration;

    use super::super::ping::Request;

    pub(super) fn send(_: &Request, _: Duration) -> Result<(), String> {
        Err("this lrl was built without https: install it with the feature `s3` or `https`".into())
    }
}
