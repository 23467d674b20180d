//! The arguments of `lrl schedule`.

use std::path::PathBuf;

use clap::Args;

use super::shared::DataArgs;
use super::values::{self, At, Form};

/// `lrl schedule`.
#[derive(Debug, Args)]
pub struct ScheduleArgs {
    /// What to write; print writes nothing and shows both
    #[arg(value_name = "FORM", value_enum)]
    pub form: Form,
    /// Where the data is.
    #[command(flatten)]
    pub data: DataArgs,
    /// When to run: a time of day as HH:MM, or hourly; may be repeated
    #[arg(long, value_name = "TIME", value_parser = values::at, default_value = "03:00")]
    pub at: Vec<At>,
    /// For this user: units in ~/.config/systemd/user, or a line for crontab -e
    #[arg(long)]
    pub user: bool,
    /// Directory to write to [default: /etc/systemd/system, /etc/cron.d]
    #[arg(long, value_name = "DIR", value_parser = values::directory_parser())]
    pub out: Option<PathBuf>,
    /// Name of the units, for a second site on one machine [default: lrl-run; of the cron file: lrl]
    #[arg(long, value_name = "NAME", value_parser = values::unit_name)]
    pub name: Option<String>,
    /// systemd unit to start when a run does not end with 0, as in OnFailure=
    #[arg(long, value_name = "UNIT", value_parser = values::unit)]
    pub on_failure_unit: Option<String>,
    /// Also write a service that runs `lrl watch`; not for cron
    #[arg(long)]
    pub watch: bool,
    /// Remove what `lrl schedule` wrote
    #[arg(long, conflicts_with_all = ["at", "on_failure_unit"])]
    pub remove: bool,
}
