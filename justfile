# Where cargo builds.
target := env("CARGO_TARGET_DIR", "target")

# All checks that a change must pass.
gate: fmt lint test

# Formatting, as rustfmt.toml says.
fmt:
    cargo fmt --all --check

# Lints; warnings are errors.
lint:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# The program without buckets and pages, and with every kind of bucket: no warnings, and its tests compile.
bare:
    RUSTFLAGS="-D warnings" cargo check -p lrl-cli --locked --no-default-features --all-targets --target-dir {{target}}/bare
    RUSTFLAGS="-D warnings" cargo check -p lrl-cli --locked --features gcs,azure --all-targets --target-dir {{target}}/bare

# All tests.
test:
    cargo test --workspace --locked

# Tests of live databases with larger bounds: one of over 1 GiB, 700 rounds beside writers.
long:
    LRL_TEST_ROUNDS=700 cargo test --workspace --locked --lib source::database::
    cargo test -p lrl-store --locked -- --ignored the_lock_byte_page_is_zero_and_nothing_else_differs

# Prints how many states were tried; a failure prints what tries that state again.
# Every fault at every step, every damaged byte, 100,000 random operations: hours. A number tries that many of each kind: `just soak 200`.
soak ROUNDS="all":
    LRL_TEST_ROUNDS={{ROUNDS}} cargo test --workspace --locked --lib -- --nocapture ops::tests ops::repair
    LRL_TEST_ROUNDS={{ROUNDS}} cargo test --workspace --locked --test e2e -- --nocapture kill power_cut fails
    LRL_TEST_ROUNDS={{ROUNDS}} cargo test --workspace --locked --test parsers -- --nocapture

# One fuzz target (see fuzz/README.md) for SECONDS, guided by coverage. Needs cargo-fuzz.
fuzz TARGET SECONDS="300":
    cargo test --workspace --locked --test parsers -- --ignored write_the_corpus
    RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none {{TARGET}} -- -max_total_time={{SECONDS}} -max_len=8192

# Compares lrl with its peers, as in docs/BENCHMARKS.md: on a quiet machine, with restic and borg installed. Takes about 25 minutes.
bench *ARGS:
    cargo build --release --locked -p lrl-cli -p lrl-bench
    {{target}}/release/lrl-bench compare {{ARGS}}

# What a first snapshot, a change and a restore cost at 128 MiB to 10 GiB, lrl beside restic, borg and rustic, as in docs/SIZES.md. Hours, and
# 75 GB of free space; `just bench-sizes --mib 128,1024` takes about half an hour. `--cold` measures with the system's caches dropped, too; only root can.
bench-sizes *ARGS:
    cargo build --release --locked -p lrl-cli -p lrl-bench
    {{target}}/release/lrl-bench sizes {{ARGS}}

# The engine's stages one by one, as a table.
bench-micro *ARGS:
    cargo run --release --locked -p lrl-bench -- micro {{ARGS}}

# Time and memory of every command beside a million files, a file of 10 GB and 10,000,000 chunks. Needs 60 GB of free space.
bench-scale *ARGS:
    cargo build --release --locked -p lrl-cli -p lrl-bench
    {{target}}/release/lrl-bench scale {{ARGS}}

# A first backup into a bucket and a restore on a new machine, beside `aws s3 cp`, with 0 and 30 ms of delay in each direction, as a table. Needs
# moto_server (pip install 'moto[server]') and the aws CLI.
bench-remote *ARGS:
    cargo build --release --locked -p lrl-cli -p lrl-bench
    {{target}}/release/lrl-bench remote {{ARGS}}

# Three nodes of Garage on loopback, killed and started again during backups. Needs garage (see the script).
garage:
    cargo build --release --locked -p lrl-cli
    tests/garage/run

# Real applications write while they are backed up; every snapshot is restored and compared. Needs packages from PyPI (see the script's head).
try-applications *ARGS:
    cargo build --release --locked -p lrl-cli
    python3 tests/real/applications.py --lrl target/release/lrl {{ARGS}}

# Real databases through every verb that looks inside, and back. Needs the Chinook database, chromium and anki (see the script's head).
try-look *ARGS:
    cargo build --release --locked -p lrl-cli
    python3 tests/real/look_inside.py --lrl target/release/lrl {{ARGS}}

# Every kind of page in Chromium at three sizes, light, dark and without scripts, with axe-core. Needs chromium, puppeteer-core and axe-core (see the
# script's head).
try-pages *ARGS:
    cargo build --release --locked -p lrl-cli
    node tests/real/pages.mjs --lrl target/release/lrl {{ARGS}}

# Checks licences, advisories and sources of all packages. Needs cargo-deny.
deny:
    cargo deny check

# Rewrites the generated documents.
docs:
    UPDATE_DOCS=1 cargo test --workspace --test e2e -- docs format

# Builds lrl, backs up the sample lab and drills the backup.
demo:
    ./demo

# Rebuilds the sample lab.
sample:
    python3 examples/make_lab.py

# A static program; needs `rustup target add` for it, and musl-gcc (Debian's musl-tools). `just dist x86_64-unknown-linux-gnu` makes a dynamic one.
# A release: target/dist gets the .deb, the .tar.gz and SHA256SUMS.
dist TARGET=(arch() + "-unknown-linux-musl"):
    cargo build --release --locked -p lrl-cli --target {{TARGET}}
    contrib/dist/package {{target}}/{{TARGET}}/release/lrl {{target}}/dist

# Installs the package of `just dist` on a bare Debian, uses it as the README says, upgrades, removes and purges it. Needs root and debootstrap (see the script).
try-install *ARGS:
    tests/real/install.py "$(ls -t {{target}}/dist/lrl_*.deb | head -n 1)" {{ARGS}}

# The units of `lrl schedule` and of the package under a real systemd, in namespaces of its own. Needs root and Debian's systemd.
try-systemd *ARGS:
    cargo build --release --locked -p lrl-cli
    tests/real/systemd.py --lrl {{target}}/release/lrl {{ARGS}}

# A month of nights with one failure of each kind: each is told within one run. Needs root, libfaketime and prometheus-node-exporter (see the script).
try-month *ARGS:
    cargo build --release --locked -p lrl-cli
    tests/real/month.py --lrl {{target}}/release/lrl {{ARGS}}
