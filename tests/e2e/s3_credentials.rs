//! The key of a bucket from files: the setting's, the service manager's, and the profiles of the `aws` command line.

use crate::bucket::{Bucket, KEY};
use crate::common::Lab;

fn lab(bucket: &Bucket) -> Lab {
    let mut lab = Lab::small();
    lab.set("LRL_STORE", &bucket.url("history/one"));
    lab
}

fn profile(name: &str, key: &str) -> String {
    format!("[{name}]\naws_access_key_id = {key}\naws_secret_access_key = secret\n\n")
}

#[test]
fn a_file_has_the_key_and_counts_before_the_environment() {
    let bucket = Bucket::start();
    let mut lab = lab(&bucket);
    let none = lab.lrl("init --no-encryption").expect(1);
    assert!(none.stderr.contains("--s3-credentials-file"), "{}", none.stderr);
    lab.secret("keys", profile("default", KEY) + &profile("far", "AKOTHER"));
    lab.lrl("init --no-encryption --s3-credentials-file keys").expect(0);
    lab.set("AWS_ACCESS_KEY_ID", "AKOTHER");
    lab.set("AWS_SECRET_ACCESS_KEY", "secret");
    lab.set("AWS_SESSION_TOKEN", "of the other key");
    assert!(lab.lrl("snapshots").expect(1).stderr.contains("does not accept the key"));
    lab.write("lrl.toml", format!("s3-credentials-file = {:?}\n", lab.path("keys")));
    lab.lrl("backup --snapshot-only").expect(0);
    lab.set("AWS_PROFILE", "far");
    assert!(lab.lrl("snapshots").expect(1).stderr.contains("does not accept the key"));
    lab.set("AWS_PROFILE", "nobody");
    let run = lab.lrl("snapshots").expect(1);
    assert!(run.stderr.contains("has no profile [nobody]"), "{}", run.stderr);
    assert!(!run.stderr.contains(KEY), "{}", run.stderr);
}

#[test]
fn the_service_managers_file_counts_before_the_settings() {
    let bucket = Bucket::start();
    let mut lab = lab(&bucket);
    lab.secret("keys", profile("default", "AKOTHER"));
    lab.write("lrl.toml", format!("s3-credentials-file = {:?}\n", lab.path("keys")));
    lab.secret("given/lrl.s3-credentials-file", profile("default", KEY));
    assert!(lab.lrl("snapshots").expect(1).stderr.contains("does not accept the key"));
    lab.set("CREDENTIALS_DIRECTORY", &lab.path("given").display().to_string());
    lab.lrl("init --no-encryption").expect(0);
    // A unit hands over the file that is named.
    lab.set("CREDENTIALS_DIRECTORY", "");
    let unit = lab.lrl("schedule print").expect(0).stdout;
    let line = format!("LoadCredential=lrl.s3-credentials-file:{}", lab.path("keys").display());
    assert!(unit.contains(&line) && unit.contains("EnvironmentFile=-/etc/lrl/environment"), "{unit}");
}

#[test]
fn profiles_of_aws_are_read_where_the_environment_has_no_key() {
    let bucket = Bucket::start();
    let mut lab = lab(&bucket);
    lab.secret("home/.aws/credentials", profile("default", "AKOTHER") + &profile("far", KEY));
    assert!(lab.lrl("snapshots").expect(1).stderr.contains("does not accept the key"));
    lab.set("AWS_PROFILE", "far");
    lab.lrl("init --no-encryption").expect(0);
    // A key in the environment counts before a profile, but not before one that the URL asks for.
    lab.set("AWS_ACCESS_KEY_ID", "AKOTHER");
    lab.set("AWS_SECRET_ACCESS_KEY", "secret");
    assert!(lab.lrl("snapshots").expect(1).stderr.contains("does not accept the key"));
    let url = bucket.url("history/one");
    let asked = |name: &str| format!("{url}{}profile={name}", if url.contains('?') { '&' } else { '?' });
    lab.run(["snapshots", "--store", &asked("far")]).expect(0);
    assert!(lab.run(["snapshots", "--store", &asked("none")]).expect(1).stderr.contains("has no profile [none]"));
    lab.set("AWS_ACCESS_KEY_ID", "");
    lab.set("AWS_PROFILE", "");
    lab.secret("elsewhere", profile("default", KEY));
    lab.set("AWS_SHARED_CREDENTIALS_FILE", "elsewhere");
    lab.lrl("snapshots").expect(0);
    // The endpoint and the region, too.
    let (place, server) = (url.split('?').next().unwrap(), url.split("endpoint=").nth(1).unwrap());
    let server = server.split('&').next().unwrap();
    assert_ne!(lab.run(["snapshots", "--store", &format!("{place}?retries=0")]).code, 0);
    lab.write("home/.aws/config", format!("[default]\nregion = here\nendpoint_url = {server}\n"));
    lab.run(["snapshots", "--store", &format!("{place}?retries=0")]).expect(0);
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    let bucket = Bucket::start();
    let mut lab = lab(&bucket);
    lab.write("keys", profile("default", KEY));
    let open = |run: crate::common::Run, file: &str| {
        let text = run.expect(1).stderr;
        assert!(text.contains("others than its owner can read or write it") && text.contains(file), "{text}");
    };
    open(lab.lrl("snapshots --s3-credentials-file keys"), "chmod 600 keys");
    lab.write("home/.aws/credentials", profile("default", KEY));
    open(lab.lrl("snapshots"), ".aws/credentials");
    lab.set("AWS_SHARED_CREDENTIALS_FILE", "keys");
    open(lab.lrl("snapshots"), "chmod 600 keys");
    assert!(
        lab.lrl("snapshots --s3-credentials-file none")
            .expect(1)
            .stderr
            .contains("read the key of the bucket from none")
    );
    lab.secret("fetched", "[default]\nsso_session = work\n");
    let run = lab.lrl("snapshots --s3-credentials-file fetched").expect(1);
    assert!(run.stderr.contains("aws configure export-credentials"), "{}", run.stderr);
}
