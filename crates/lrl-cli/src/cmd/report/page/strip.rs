//! The last days, one by one: green for a good day, marks for drills. Colour is never the only sign, and the same is there as a table.

use lrl_store::ops::judgement::State;
use lrl_store::ops::report::days::Day;

use super::table::{head, table};
use super::text;
use crate::render::html::Html;
use crate::render::units;

/// Writes the strip.
pub fn write(h: &mut Html, days: &[Day]) {
    let (Some(first), Some(last)) = (days.first(), days.last()) else { return };
    h.leaf("h3", "", &format!("The last {} days", days.len()));
    h.leaf("p", "soft", &summary(days));
    h.el("ol", &[("class", "strip"), ("aria-hidden", "true")], |h| {
        for day in days {
            h.el("li", &[("class", class(day)), ("title", &told(day))], |h| {
                if day.failed > 0 {
                    h.leaf("b", "no", "");
                } else if day.passed > 0 {
                    h.leaf("b", "yes", "");
                }
            });
        }
    });
    h.el("div", &[("class", "ends"), ("aria-hidden", "true")], |h| {
        h.leaf("span", "", &text::day_text(first.start));
        h.leaf("span", "", &text::day_text(last.start));
    });
    h.el("ul", &[("class", "legend"), ("aria-hidden", "true")], |h| {
        for (class, what) in [
            ("good", "good snapshots"),
            ("warn", "a snapshot that is suspect or incomplete"),
            ("ill", "a bad snapshot"),
            ("thin", "not kept any more"),
            ("none", "none there now"),
            ("dot", "a drill passed"),
            ("cut", "a drill failed"),
        ] {
            h.el("li", &[], |h| {
                h.leaf("i", class, "");
                h.text(what);
            });
        }
    });
    h.el("details", &[], |h| {
        h.leaf("summary", "", "The same as a table");
        table(h, "Days", |h| {
            head(h, &["Day", ">Snapshots", "Worst of them", ">Drills passed", ">Drills failed"]);
            h.el("tbody", &[], |h| days.iter().rev().for_each(|day| row(h, day)));
        });
    });
}

fn row(h: &mut Html, day: &Day) {
    h.el("tr", &[], |h| {
        h.el("td", &[], |h| text::day(h, day.start));
        h.leaf("td", "num", &day.snapshots.to_string());
        h.leaf(
            "td",
            "",
            day.worst.map_or(if day.thinned { "not kept any more" } else { "none there now" }, State::name),
        );
        h.leaf("td", "num", &day.passed.to_string());
        h.leaf("td", "num", &day.failed.to_string());
    });
}

fn class(day: &Day) -> &'static str {
    match day.worst {
        None if day.thinned => "thin",
        None => "none",
        Some(State::Good) => "good",
        Some(State::Suspect | State::Incomplete) => "warn",
        Some(State::Unreadable | State::Failed | State::Damaged) => "ill",
    }
}

fn told(day: &Day) -> String {
    let mut parts = vec![match day.worst {
        None if day.thinned => "not kept any more".to_string(),
        None => "no snapshot there now".to_string(),
        Some(State::Good) => units::count(day.snapshots, "good snapshot"),
        Some(state) => format!("{}, one {state}", units::count(day.snapshots, "snapshot")),
    }];
    parts.extend((day.passed > 0).then(|| format!("{} passed", units::count(day.passed, "drill"))));
    parts.extend((day.failed > 0).then(|| format!("{} failed", units::count(day.failed, "drill"))));
    format!("{}: {}", text::day_text(day.start), parts.join(", "))
}

fn summary(days: &[Day]) -> String {
    let number = |is: &dyn Fn(&&Day) -> bool| days.iter().filter(is).count() as u64;
    let good = number(&|day| day.worst == Some(State::Good));
    let thinned = number(&|day| day.thinned);
    let none = number(&|day| day.worst.is_none()) - thinned;
    let other = days.len() as u64 - good - none - thinned;
    let (passed, failed) = days.iter().fold((0, 0), |(a, b), day| (a + day.passed, b + day.failed));
    let mut text = format!("{} with good snapshots only", units::count(good, "day"));
    if other > 0 {
        text.push_str(&format!(", {other} with one that is not good"));
    }
    if thinned > 0 {
        text.push_str(&format!(", {thinned} whose snapshots are not kept any more"));
    }
    format!("{text}, {none} without any now. {} passed, {failed} failed. In UTC.", units::count(passed, "drill"))
}

#[cfg(test)]
mod tests {
    use super::{Day, State, summary, told};

    #[test]
    fn a_day_is_told_in_words() {
        let day = Day { start: 0, snapshots: 2, worst: Some(State::Suspect), passed: 1, ..Day::default() };
        assert_eq!(told(&day), "1 Jan 1970: 2 snapshots, one suspect, 1 drill passed");
        assert_eq!(told(&Day::default()), "1 Jan 1970: no snapshot there now");
        let text = summary(&[day, Day::default()]);
        assert_eq!(
            text,
            "0 days with good snapshots only, 1 with one that is not good, 1 without any now. 1 drill passed, 0 failed. In UTC."
        );
    }
}
