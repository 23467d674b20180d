//! How a source grows: its database, its files, its rows.

use lrl_store::ops::report::{History, Point};

use super::chart::{self, Chart};
use super::table::{head, table};
use crate::render::html::Html;
use crate::render::names::Names;
use crate::render::units;

/// Writes the charts.
pub fn write(h: &mut Html, history: &History, names: Names) {
    let of = |value: &dyn Fn(&Point) -> Option<u64>| -> Vec<(i64, u64)> {
        history.points.iter().filter_map(|point| Some((point.created?.secs, value(point)?))).collect()
    };
    let rows: Vec<(i64, u64)> = history.rows.iter().map(|rows| (rows.at.secs, rows.rows)).collect();
    let charts = [
        Chart { name: "Database", values: of(&|point| point.database_bytes), show: units::size, note: "" },
        Chart { name: "Rows", values: rows, show: grouped, note: "as drills counted them" },
        Chart { name: "Files", values: of(&|point| point.files), show: grouped, note: "" },
        Chart { name: "Bytes of files", values: of(&|point| point.file_bytes), show: units::size, note: "" },
    ];
    if charts.iter().all(|chart| chart.values.is_empty()) {
        return;
    }
    h.leaf("h3", "", "What is backed up");
    h.el("div", &[("class", "charts")], |h| charts.iter().for_each(|chart| chart::write(h, chart)));
    if history.unread > 0 {
        let text = format!("{} of long ago are not drawn.", units::count(history.unread, "snapshot"));
        h.leaf("p", "soft", &text);
    }
    tables(h, history, names);
}

fn tables(h: &mut Html, history: &History, names: Names) {
    if history.tables.is_empty() || names.are_redacted() {
        return;
    }
    h.el("details", &[], |h| {
        h.leaf("summary", "", "Rows of each table");
        table(h, "Rows of each table", |h| {
            head(h, &["Table", ">Rows", ">Change in 90 days"]);
            h.el("tbody", &[], |h| {
                for table in &history.tables {
                    let of = if table.database.is_empty() { String::new() } else { format!("{}: ", table.database) };
                    h.el("tr", &[], |h| {
                        h.leaf("td", "mono", &format!("{of}{}", table.table));
                        h.leaf("td", "num", &grouped(table.rows));
                        h.leaf("td", "num", &table.before.map_or("new".into(), |before| change(before, table.rows)));
                    });
                }
            });
        });
        if history.more_tables > 0 {
            h.leaf("p", "soft", &format!("and {}", units::count(history.more_tables, "smaller table")));
        }
    });
}

fn change(before: u64, now: u64) -> String {
    match now.checked_sub(before) {
        Some(0) => "±0".into(),
        Some(more) => format!("+{}", grouped(more)),
        None => format!("−{}", grouped(before - now)),
    }
}

/// Writes a number in groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{change, grouped};

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1\u{202f}000"), (1_234_567, "1\u{202f}234\u{202f}567")] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!((change(5, 5), change(5, 7), change(7, 5)), ("±0".into(), "+2".into(), "−2".into()));
    }
}
