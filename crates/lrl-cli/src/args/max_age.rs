//! From when on something counts as wrong: the limits of `lrl status` and `lrl report`.

use std::time::Duration;

use clap::Args;
use lrl_store::ops::status::Limits;

use super::headings::SETTINGS;
use super::values::{self, MinFree};

/// Limits; without one only what is wrong in itself counts.
#[derive(Debug, Args)]
pub struct MaxAgeArgs {
    /// Wrong if the newest good backup is older than this (as in 30m, 26h, 7d)
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = SETTINGS)]
    pub max_age: Option<Duration>,
    /// Wrong if the last drill that passed is older than this
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = SETTINGS)]
    pub max_drill_age: Option<Duration>,
    /// Wrong if a second store lacks a snapshot that is older than this
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = SETTINGS)]
    pub max_copy_age: Option<Duration>,
    /// Wrong if the last check that found nothing wrong is older than this
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = SETTINGS)]
    pub max_check_age: Option<Duration>,
    /// Wrong if less than this is free on the store's disk: 10%, or 2G
    #[arg(long, value_name = "AMOUNT", value_parser = values::min_free, help_heading = SETTINGS)]
    pub min_free: Option<MinFree>,
}

impl MaxAgeArgs {
    /// Returns the limits that concern the store by itself.
    pub fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.age = self.max_age;
        limits.drill = self.max_drill_age;
        limits.check = self.max_check_age;
        limits
    }
}
