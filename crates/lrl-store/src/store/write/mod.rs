//! Adding chunks: known ones cost nothing, new ones are encoded (in the caller's thread) and packed; then packs and index are made durable.

mod encode;
mod put;
mod session;
mod trust;

pub use session::WriteSession;
pub(crate) use trust::Trust;

#[cfg(test)]
mod tests;
