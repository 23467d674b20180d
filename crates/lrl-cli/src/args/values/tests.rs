//! What the parsers of values take and refuse.

use super::{
    MaxUnused, Owner, Subset, age, directory, duration, owner, place, rate, reserve, size, source, subset, unused,
};
use lrl_store::fs::space::Reserve;
use proptest::prelude::*;
use std::time::Duration;

#[test]
fn durations_need_a_number_and_a_unit() {
    for (text, seconds) in
        [("90s", 90), ("30m", 1800), ("20h", 72_000), ("7d", 604_800), ("2w", 1_209_600), ("1h30m", 5400), ("0", 0)]
    {
        assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
    }
    for bad in
        ["", "20", "h", "20x", "-1h", "1.5h", " 1h", "1h ", "1h30", "99999999999999999999s", "9999999999999999w", "1é"]
    {
        assert!(duration(bad).is_err(), "{bad}");
    }
}

#[test]
fn ages_have_no_minutes_that_could_be_meant_as_months() {
    for (text, hours) in [("36h", 36), ("30d", 720), ("8w", 1344), ("1y", 8784), ("1y1d", 8808), ("2d12h", 60)] {
        assert_eq!(age(text), Ok(Duration::from_secs(hours * 3600)), "{text}");
    }
    for bad in ["", "6m", "1y5m", "90s", "y", "0", "0d", "0y", "30", "1d1y", "-1d", "99999999999999999999y"] {
        assert!(age(bad).is_err(), "{bad}");
    }
}

#[test]
fn sizes_are_powers_of_1024() {
    for (text, bytes) in
        [("500", 500), ("64K", 65_536), ("2M", 2 << 20), ("2MB", 2 << 20), ("2MiB", 2 << 20), ("1T", 1 << 40)]
    {
        assert_eq!(size(text), Some(bytes), "{text}");
    }
    for bad in ["", "M", "1X", "-1", "1.5G", "1iB", "99999999999T"] {
        assert_eq!(size(bad), None, "{bad}");
    }
}

#[test]
fn subsets_are_slices_percentages_or_sizes() {
    assert_eq!(subset("2/7"), Ok(Subset::Slice { part: 2, of: 7 }));
    assert_eq!(subset("5%"), Ok(Subset::Percent(5.0)));
    assert_eq!(subset("0.5%"), Ok(Subset::Percent(0.5)));
    assert_eq!(subset("1M"), Ok(Subset::Bytes(1 << 20)));
    for bad in ["", "0/7", "8/7", "1/0", "0%", "101%", "NaN%", "inf%", "0", "a/b", "%"] {
        assert!(subset(bad).is_err(), "{bad}");
    }
}

#[test]
fn unused_room_is_a_percentage_a_size_or_unlimited() {
    assert_eq!(unused("5%"), Ok(MaxUnused::Percent(5.0)));
    assert_eq!(unused("0"), Ok(MaxUnused::Bytes(0)));
    assert_eq!(unused("2M"), Ok(MaxUnused::Bytes(2 << 20)));
    assert_eq!(unused("unlimited"), Ok(MaxUnused::Unlimited));
    for bad in ["", "%", "101%", "-1%", "NaN%", "all", "1.5M"] {
        assert!(unused(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_rate_is_a_size_and_not_nothing() {
    assert_eq!(rate("500K"), Ok(500 << 10));
    for bad in ["", "0", "fast", "1.5M", "-1"] {
        assert!(rate(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_reserve_is_a_bounded_percentage_or_a_size() {
    let (percent, most) = (5.0, 1 << 30);
    assert_eq!(reserve("5%"), Ok(Reserve { percent, most }));
    assert_eq!(reserve("200MB"), Ok(Reserve { percent: 100.0, most: 200 << 20 }));
    assert_eq!(reserve("0"), Ok(Reserve::NONE));
    for bad in ["", "%", "101%", "-1%", "NaN%", "1.5G", "all"] {
        assert!(reserve(bad).is_err(), "{bad}");
    }
}

#[test]
fn names_that_would_leave_the_store_are_refused() {
    assert_eq!(source("lab-2.prod"), Ok("lab-2.prod".into()));
    for bad in ["", "..", ".hidden", "-x", "a/b", "a b", "ä", &"x".repeat(65)] {
        assert!(source(bad).is_err(), "{bad}");
    }
    assert_eq!(owner("app:33"), Ok(Owner { user: "app".into(), group: "33".into() }));
    for bad in ["", "app", "app:", ":app", "a:b:c"] {
        assert!(owner(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_looks_like_another_place_is_no_directory() {
    for good in [
        "x",
        "./s3:bucket",
        "/srv/a:b",
        "a/b:c",
        "../x:y",
        "12:30",
        "s3://lab/x?endpoint=http://h:9000",
        "gs://b",
        "ä:b",
    ] {
        assert_eq!(place(good.into()), Ok(good.into()), "{good}");
    }
    for bad in [
        "",
        "s3:bucket",
        "s3:/bucket",
        "S3://bucket",
        "b2:x",
        "ftp://h/x",
        "http://h",
        "file:///x",
        "c:x",
        "rclone-b.x:y",
        "a@h:/srv",
    ] {
        assert!(place(bad.into()).is_err() && directory(bad.into()).is_err(), "{bad}");
    }
    assert!(place("s3:lab/x".into()).unwrap_err().contains("s3://lab/x for the bucket, ./s3:lab/x for a directory"));
    assert!(directory("s3://lab".into()).is_err());
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text: String) {
        let _ = (duration(&text), age(&text), subset(&text), size(&text), owner(&text), source(&text));
    }
}
