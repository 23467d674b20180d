//! What store and sets take, and on which day the disk is full.

use super::super::space::{Disk, Space};
use super::chart::{self, Chart};
use super::text;
use crate::render::html::Html;
use crate::render::units;

/// A disk that is full within this time is worth a hint.
const SOON: i64 = 365 * 86_400;
/// How many sets the hint keeps.
const HINTED_SETS: u64 = 3;

/// Writes the section.
pub fn write(h: &mut Html, space: &Space, now: i64) {
    h.leaf("h2", "", "Space");
    space.disks.iter().for_each(|disk| bar(h, disk));
    let rate = |rate: Option<f64>| match rate {
        Some(rate) if rate >= 1.0 => format!("grows by {} a day", units::size(rate as u64)),
        Some(rate) if rate <= -1.0 => format!("shrinks by {} a day", units::size(-rate as u64)),
        Some(_) => "does not grow".into(),
        None => "too young to tell how fast it grows".into(),
    };
    let of_store = match space.is_measured {
        true => rate(space.store_rate),
        false => format!("{}; the line is an estimate from what each backup added", rate(space.store_rate)),
    };
    let of_sets =
        format!("{}, {}", units::count(space.set_count, "set"), rate(space.sets_rate).replace("grows", "growing"));
    h.el("div", &[("class", "charts")], |h| {
        chart::write(h, &Chart { name: "Store", values: space.store.clone(), show: units::size, note: &of_store });
        let values = space.sets.clone();
        chart::write(
            h,
            &Chart { name: "Sets that are there, by their time", values, show: units::size, note: &of_sets },
        );
    });
    hint(h, space, now);
}

/// Tells on which day a disk is full.
pub fn last_day(disk: &Disk) -> String {
    match disk.full_at {
        Some(at) => format!("at this rate it is full on {}", text::day_text(at)),
        None if disk.has_rate => "at this rate it does not fill up".into(),
        None => "too young to tell when it is full".into(),
    }
}

fn hint(h: &mut Html, space: &Space, now: i64) {
    let is_soon = space.disks.iter().any(|disk| disk.full_at.is_some_and(|at| at - now < SOON));
    let sets_grow = space.sets_rate.is_some_and(|rate| rate > space.store_rate.unwrap_or(0.0));
    if !(is_soon && sets_grow && space.keeps_all_sets && space.set_count > HINTED_SETS) {
        return;
    }
    let text = format!(
        "Every set is kept, and the sets grow faster than the store. With --keep-sets {HINTED_SETS} (keep-sets = {HINTED_SETS} in lrl.toml) they \
         would take about {}; lrl export makes any other again from the store, byte for byte.",
        units::size(space.newest_set.saturating_mul(HINTED_SETS))
    );
    h.leaf("p", "note", &text);
}

fn bar(h: &mut Html, disk: &Disk) {
    let used = disk.total.saturating_sub(disk.free);
    let other = used.saturating_sub(disk.store).saturating_sub(disk.sets);
    let share = |bytes: u64| bytes as f64 * 100.0 / disk.total.max(1) as f64;
    h.el("p", &[], |h| {
        h.text(&format!(
            "Disk with {}: {} of {} are free; {}.",
            disk.what,
            units::size(disk.free),
            units::size(disk.total),
            last_day(disk)
        ));
    });
    let parts = [("store", disk.store), ("sets", disk.sets), ("other", other)];
    let attributes =
        [("class", "bar"), ("viewBox", "0 0 100 10"), ("preserveAspectRatio", "none"), ("aria-hidden", "true")];
    h.el("svg", &attributes, |h| {
        let mut x = 0.0;
        for (class, bytes) in parts {
            let width = share(bytes).min(100.0 - x);
            let (from, width) = (format!("{x:.2}"), format!("{width:.2}"));
            h.el("rect", &[("class", class), ("x", &from), ("y", "0"), ("width", &width), ("height", "10")], |_| {});
            x += share(bytes);
        }
    });
    h.el("ul", &[("class", "legend")], |h| {
        for (class, name, bytes) in [
            ("store", "store", disk.store),
            ("sets", "sets", disk.sets),
            ("other", "everything else", other),
            ("none", "free", disk.free),
        ] {
            if bytes > 0 {
                h.el("li", &[], |h| {
                    h.leaf("i", class, "");
                    h.text(&format!("{name}: {}", units::size(bytes)));
                });
            }
        }
    });
}
