//! The services and the timer: locked down as far as a backup can be.

use std::path::Path;

use super::needs::Needs;
use super::quote;
use crate::args::values::At;
use crate::exit::Result;

/// Choices that are not the site's.
pub struct Choices<'a> {
    /// When runs happen.
    pub at: &'a [At],
    /// Units of a user's manager, which cannot do what takes root's rights.
    pub user: bool,
    /// The unit to start when a run does not end with 0.
    pub on_failure: Option<&'a str>,
}

/// Directories that `ProtectHome=` hides.
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
/// Directories that `PrivateTmp=` hides.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

/// What any service can do without, also a user's.
const EVERYWHERE: &str = "\
NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictNamespaces=yes
RestrictRealtime=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
";

/// What takes root's rights to set up. Of root's own rights a backup uses those to read what others own, and to keep the owner, mode and
/// times of a `-shm` and of what a drill unpacks. No `RestrictSUIDSGID=`: directories of uploads may have the setgid bit.
const SYSTEM: &str = "\
CapabilityBoundingSet=CAP_DAC_READ_SEARCH CAP_DAC_OVERRIDE CAP_CHOWN CAP_FOWNER
ProtectSystem=strict
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
KeyringMode=private
";

/// Writes the service that does what is due.
pub fn service(site: &Needs, choices: &Choices<'_>, marker: &str) -> Result<String> {
    let mut unit = beginning(site, choices, marker, "lrl run")?;
    unit.push_str("\n[Service]\nType=oneshot\n");
    place(site, choices, "run", &mut unit)?;
    unit.push_str(
        "# A first backup, a drill of a large set or a slow line may take hours.\nTimeoutStartSec=infinity\n\
         # Not idle: a process that is starved while it reads the database would hold the application up.\n\
         Nice=5\nIOSchedulingClass=best-effort\nIOSchedulingPriority=7\n\
         # lrl itself takes up to 64 MiB; the rest is for the system's own buffers.\nMemoryMax=1G\nTasksMax=64\n\n",
    );
    sandbox(site, choices, &mut unit)?;
    Ok(unit)
}

/// Writes the service that watches.
pub fn watch(site: &Needs, choices: &Choices<'_>, marker: &str) -> Result<String> {
    let mut unit = beginning(site, choices, marker, "lrl watch")?;
    unit.push_str("# However often it fails to start, it is started again.\nStartLimitIntervalSec=0\n");
    unit.push_str("\n[Service]\nType=notify\nNotifyAccess=main\n");
    place(site, choices, "watch", &mut unit)?;
    unit.push_str(
        "Restart=on-failure\nRestartSec=30\n\
         # Wrong settings, no store or a wrong key do not go away by themselves.\nRestartPreventExitStatus=2 10 12\n\
         # It is alive as long as it tells, also while it works; one that hangs is started again.\nWatchdogSec=10min\n\
         # A last snapshot is made at the end.\nTimeoutStopSec=5min\nKillMode=mixed\n\
         Nice=5\nIOSchedulingClass=best-effort\nIOSchedulingPriority=7\n\
         # lrl itself takes up to 64 MiB; the rest is for the system's own buffers.\nMemoryMax=1G\nTasksMax=64\n\n",
    );
    sandbox(site, choices, &mut unit)?;
    let target = if choices.user { "default.target" } else { "multi-user.target" };
    unit.push_str(&format!("\n[Install]\nWantedBy={target}\n"));
    Ok(unit)
}

/// Describes the unit, and what it waits for.
fn beginning(site: &Needs, choices: &Choices<'_>, marker: &str, what: &str) -> Result<String> {
    let mut unit = marker.to_string();
    let directory = quote::text(&site.directory)?;
    unit.push_str(&format!("[Unit]\nDescription={what} in {}\n", quote::whole(directory)?));
    if site.network {
        unit.push_str("Wants=network-online.target\nAfter=network-online.target\n");
    }
    if !choices.user {
        unit.push_str("After=local-fs.target remote-fs.target\n");
    }
    if let Some(other) = choices.on_failure {
        unit.push_str(&format!("OnFailure={other}\n"));
    }
    Ok(unit)
}

/// Writes what is run, where, and with which variables and secrets.
fn place(site: &Needs, choices: &Choices<'_>, verb: &str, unit: &mut String) -> Result<()> {
    unit.push_str(&format!("ExecStart={}\n", command(site, verb)?));
    unit.push_str(&format!("WorkingDirectory={}\n", quote::whole(quote::text(&site.directory)?)?));
    environment(site, choices, unit)
}

/// Writes what the service may not do.
fn sandbox(site: &Needs, choices: &Choices<'_>, unit: &mut String) -> Result<()> {
    unit.push_str(EVERYWHERE);
    // Whatever is to speak to the network from a run (a bucket, a program that fetches a passphrase) belongs into `Needs::network`.
    let families = if site.network { "AF_UNIX AF_INET AF_INET6 AF_NETLINK" } else { "AF_UNIX" };
    unit.push_str(&format!("RestrictAddressFamilies={families}\n"));
    if !choices.user {
        unit.push_str(SYSTEM);
        let in_temporary = site.is_below(&TEMPORARY);
        let private = if in_temporary { "no" } else { "yes" };
        // What is below a home is read, and written where it has to be; all else there stays as it is.
        let home = if site.is_below(&HOMES) { "read-only" } else { "yes" };
        unit.push_str(&format!("PrivateTmp={private}\nProtectHome={home}\n"));
        unit.push_str("# A missing directory (a disk that is not mounted) is for lrl to tell.\n");
        if in_temporary {
            unit.push_str("ReadWritePaths=/tmp /var/tmp\n");
        }
        for path in &site.writes {
            unit.push_str(&format!("ReadWritePaths={}\n", quote::item(&format!("-{}", quote::text(path)?))));
        }
    }
    Ok(())
}

fn command(site: &Needs, verb: &str) -> Result<String> {
    // The program itself is no argument: variables are not looked for in it.
    let mut words = vec![quote::item(quote::text(&site.program)?)];
    words.push(quote::argument(&format!("--config={}", quote::text(&site.config)?)));
    words.push(verb.into());
    for flag in &site.flags {
        words.push(quote::argument(quote::text(Path::new(flag))?));
    }
    Ok(words.join(" "))
}

fn environment(site: &Needs, choices: &Choices<'_>, unit: &mut String) -> Result<()> {
    // A user's manager may not be able to hand files over; there the file is read where it is.
    let secrets = if choices.user { &[] } else { site.secrets.as_slice() };
    for (name, value) in &site.variables {
        unit.push_str(&format!("Environment={}\n", quote::item(&format!("{name}={}", quote::text(Path::new(value))?))));
    }
    if !site.variables.iter().any(|(name, _)| name == "TMPDIR") {
        unit.push_str(
            "# A drill unpacks here what it proves: on the disk, /tmp may be memory.\nEnvironment=TMPDIR=/var/tmp\n",
        );
    }
    for secret in secrets {
        let file = quote::whole(quote::text(&secret.file)?)?;
        unit.push_str(&format!("LoadCredential={}:{file}\n", secret.credential));
    }
    if site.bucket {
        let file = if choices.user { "%E/lrl/environment" } else { "/etc/lrl/environment" };
        unit.push_str(&format!(
            "# NAME=value lines with the keys of the bucket; mode 0600.\nEnvironmentFile=-{file}\n"
        ));
    }
    Ok(())
}

/// Writes the timer.
pub fn timer(site: &Needs, choices: &Choices<'_>, marker: &str) -> Result<String> {
    let mut unit = format!(
        "{marker}[Unit]\nDescription=When lrl runs in {}\n\n[Timer]\n",
        quote::whole(quote::text(&site.directory)?)?
    );
    for at in choices.at {
        unit.push_str(&match at {
            At::Daily { hour, minute } => format!("OnCalendar=*-*-* {hour:02}:{minute:02}:00\n"),
            At::Hourly => "OnCalendar=hourly\n".into(),
        });
    }
    unit.push_str(
        "# A machine that was off at that time catches up when it starts.\nPersistent=true\nRandomizedDelaySec=10m\n\n\
         [Install]\nWantedBy=timers.target\n",
    );
    Ok(unit)
}
