//! The verb `remote`: a first backup into a bucket and a restore from it on a new machine, beside `aws s3 cp` of the same directory, on a server
//! of this machine behind a line with a delay.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use clap::Args;

use crate::corpus::Lab;
use crate::error::{At, Result};
use crate::measure::{self, Usage, settle};
use crate::results::median;
use crate::rng::Rng;
use crate::units::number;
use crate::{delay, same_result};

/// The options of `remote`.
#[derive(Args)]
pub struct Arguments {
    /// The binary to measure
    #[arg(long, value_name = "PATH", default_value = "target/release/lrl")]
    lrl: PathBuf,
    /// Delays of the line to measure with, in milliseconds for each direction
    #[arg(long, value_name = "MS", value_delimiter = ',', default_value = "0,30")]
    delays: Vec<u64>,
    /// Runs of each; the median counts
    #[arg(long, value_name = "N", default_value_t = 3)]
    runs: usize,
    /// Size of the lab; 1 is a database of 128 MiB and 394 MB of uploads
    #[arg(long, value_name = "FACTOR", default_value_t = 0.6)]
    scale: f64,
    /// One upload of this many MiB that does not compress, instead of the usual ones
    #[arg(long, value_name = "MIB")]
    noise: Option<usize>,
    /// A server that is there already, with the bucket `bench`, by host and port; else moto_server is started for each run
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<SocketAddr>,
    /// A directory on the disk to measure
    #[arg(long, value_name = "DIR", default_value = "target")]
    work: PathBuf,
}

const BUCKET: &str = "bench";
const TOOLS: [&str; 2] = ["lrl", "aws"];
const STEPS: [&str; 2] = ["upload", "download"];

/// Prints a line for each tool, step and delay.
pub fn run(arguments: &Arguments) -> Result<()> {
    let lrl = fs::canonicalize(&arguments.lrl).at(&arguments.lrl)?;
    fs::create_dir_all(&arguments.work).at(&arguments.work)?;
    let work = tempfile::Builder::new().prefix("lrl-remote-").tempdir_in(&arguments.work).at(&arguments.work)?;
    let data = work.path().join("data");
    let lab = Lab::usual(&data, 7, arguments.noise.map_or(arguments.scale, |_| 0.01))?;
    if let Some(mib) = arguments.noise {
        let mut bytes = Vec::new();
        Rng::new(11).noise(mib << 20, &mut bytes);
        let path = data.join("assets/noise.bin");
        fs::write(&path, &bytes).at(&path)?;
    }
    settle(work.path())?;
    let size = lab.size()?;
    let mib = (size.database_bytes + size.upload_bytes) as f64 / f64::from(1 << 20);
    print(&[&format!("{mib:.0} MiB, {} files", size.files), "wall", "MiB/s", "peak", "server's cpu"])?;
    for ms in &arguments.delays {
        let mut figures: [[Vec<(Usage, f64)>; 2]; 2] = Default::default();
        for round in 0..arguments.runs {
            for (tool, figures) in TOOLS.iter().zip(&mut figures) {
                let server = Server::start(arguments.server)?;
                let line = delay::start(server.at, Duration::from_millis(*ms))?;
                let prefix = format!("{tool}-{ms}-{round}-{}", std::process::id());
                let bench = Bench { lrl: &lrl, work: work.path(), endpoint: format!("http://{line}"), prefix };
                for (step, figures) in STEPS.iter().zip(figures) {
                    let before = server.cpu();
                    let usage = bench.step(tool, step)?;
                    figures.push((usage, server.cpu() - before));
                }
                same_result::lab(&data, &work.path().join("back"))?;
                for left in ["back", "home"] {
                    let left = work.path().join(left);
                    let _ = fs::remove_dir_all(&left);
                }
            }
        }
        for (step, name) in STEPS.iter().enumerate() {
            let mut walls = Vec::new();
            for (tool, figures) in TOOLS.iter().zip(&figures) {
                let of = |figure: fn(&(Usage, f64)) -> f64| {
                    median(figures[step].iter().map(figure).collect()).unwrap_or_default()
                };
                let (wall, peak, cpu) = (of(|(usage, _)| usage.wall), of(|(usage, _)| usage.peak), of(|(_, cpu)| *cpu));
                let cells = [format!("{} s", number(wall)), number(mib / wall), format!("{} MiB", number(peak))];
                print(&[&format!("{name}, {ms} ms, {tool}"), &cells[0], &cells[1], &cells[2], &number(cpu)])?;
                walls.push(wall);
            }
            let share = walls[1] / walls[0] * 100.0;
            print(&[&format!("{name}, {ms} ms, lrl at"), &format!("{share:.0} %"), "", "", ""])?;
        }
    }
    work.close()?;
    Ok(())
}

fn print(cells: &[&str]) -> Result<()> {
    let mut out = std::io::stdout();
    for (n, cell) in cells.iter().enumerate() {
        if n == 0 { write!(out, "{cell:<32}")? } else { write!(out, "{cell:>14}")? }
    }
    writeln!(out)?;
    Ok(out.flush()?)
}

struct Bench<'a> {
    lrl: &'a Path,
    work: &'a Path,
    endpoint: String,
    prefix: String,
}

impl Bench<'_> {
    fn step(&self, tool: &str, step: &str) -> Result<Usage> {
        let (bucket, endpoint, home) =
            (format!("s3://{BUCKET}/{}", self.prefix), &self.endpoint, self.work.join("home"));
        let lrl = |line: &str| {
            let mut command = Command::new(self.lrl);
            command.args(line.split(' ')).arg("--quiet");
            command.args(["--store", &format!("{bucket}?endpoint={endpoint}&region=us-east-1")]);
            command
        };
        let aws = |from: &str, to: &str| {
            let mut command = Command::new("aws");
            command.args(["s3", "cp", "--recursive", "--only-show-errors", "--endpoint-url", endpoint, from, to]);
            command
        };
        let mut command = match (tool, step) {
            ("lrl", "upload") => {
                self.measure(lrl("init --no-encryption"), &home)?;
                lrl("backup --snapshot-only --data-dir data --out out")
            }
            ("lrl", _) => lrl("restore --data-dir back --backup new"),
            (_, "upload") => aws("data", &bucket),
            _ => aws(&bucket, "back"),
        };
        if step == "download" {
            // A new machine knows nothing.
            let _ = fs::remove_dir_all(&home);
        }
        command.env("AWS_MAX_ATTEMPTS", "3");
        self.measure(command, &home)
    }

    fn measure(&self, mut command: Command, home: &Path) -> Result<Usage> {
        fs::create_dir_all(home).at(home)?;
        command.current_dir(self.work).env("HOME", home).env_remove("XDG_CACHE_HOME");
        command.envs([("AWS_ACCESS_KEY_ID", "AKTEST"), ("AWS_SECRET_ACCESS_KEY", "secret")]);
        command.envs([("AWS_DEFAULT_REGION", "us-east-1"), ("AWS_EC2_METADATA_DISABLED", "true")]);
        measure::run(&mut command, &self.work.join("log"), None)
    }
}

/// A server of this machine; one that was started ends with it.
struct Server {
    at: SocketAddr,
    child: Option<Child>,
}

impl Server {
    fn start(there: Option<SocketAddr>) -> Result<Self> {
        if let Some(at) = there {
            return Ok(Self { at, child: None });
        }
        let at = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new("moto_server");
        command.args(["-H", "127.0.0.1", "-p", &at.port().to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self { at, child: Some(command.spawn().at(Path::new("moto_server"))?) };
        for _ in 0..300 {
            if let Ok(mut stream) = TcpStream::connect(at) {
                let head =
                    format!("PUT /{BUCKET} HTTP/1.1\r\nHost: {at}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                stream.write_all(head.as_bytes())?;
                std::io::copy(&mut stream, &mut std::io::sink())?;
                return Ok(server);
            }
            thread::sleep(Duration::from_millis(100));
        }
        Err("moto_server does not answer".into())
    }

    /// Returns how many seconds of processor time it has taken.
    fn cpu(&self) -> f64 {
        let stat = self.child.as_ref().and_then(|child| fs::read_to_string(format!("/proc/{}/stat", child.id())).ok());
        let ticks = |stat: String| {
            let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
            Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
        };
        stat.and_then(ticks).unwrap_or_default() / 100.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
