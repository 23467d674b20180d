//! Samples, as text in Prometheus's exposition format and back.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::families::{FAMILIES, Family, find};

/// One value with its labels.
#[derive(Debug, Clone)]
pub struct Sample {
    /// What is measured.
    pub family: &'static Family,
    /// Labels by name.
    pub labels: BTreeMap<String, String>,
    /// The value, finite.
    pub value: f64,
}

impl Sample {
    /// Makes a sample of a metric that [`find`] knows.
    pub fn new(name: &str, labels: &[(&str, &str)], value: f64) -> Option<Self> {
        let labels = labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        find(name).filter(|_| value.is_finite()).map(|family| Self { family, labels, value })
    }

    /// Returns a label's value; empty where it has none.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// Writes samples with the help and type of each metric. Of two with the same labels the first counts.
pub fn write(samples: &[Sample]) -> String {
    let mut out = String::new();
    for family in &FAMILIES {
        let mut lines = BTreeMap::new();
        for sample in samples.iter().filter(|sample| sample.family.name == family.name) {
            let labels = sample.labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
            let labels = labels.collect::<Vec<_>>().join(",");
            lines.entry(labels).or_insert(sample.value);
        }
        if lines.is_empty() {
            continue;
        }
        let (name, help) = (family.name, family.help.replace('\\', "\\\\").replace('\n', "\\n"));
        // Writing to a string does not fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in lines {
            let _ = writeln!(out, "{name}{{{labels}}} {value}");
        }
    }
    out
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Reads what [`write`] wrote; what is not of lrl's metrics is passed over.
pub fn read(text: &str) -> Vec<Sample> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
}

fn sample(line: &str) -> Option<Sample> {
    let (name, rest) = line.split_once('{')?;
    let family = find(name)?;
    let (labels, rest) = labels(rest)?;
    let value: f64 = rest.trim().parse().ok()?;
    Some(Sample { family, labels, value }).filter(|sample| sample.value.is_finite())
}

/// Reads labels up to the brace that ends them; returns them and what follows.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (mut value, mut end, mut characters) = (String::new(), None, quoted.char_indices());
        while let Some((at, c)) = characters.next() {
            match c {
                '"' => {
                    end = Some(at + 1);
                    break;
                }
                '\\' => value.push(match characters.next()?.1 {
                    'n' => '\n',
                    c => c,
                }),
                c => value.push(c),
            }
        }
        labels.insert(name.to_string(), value);
        rest = &quoted[end?..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

#[cfg(test)]
mod tests {
    use proptest::proptest;

    use super::super::families::{ADDED, BUILD};
    use super::{Sample, read, write};

    #[test]
    fn what_is_written_is_sorted_and_has_no_series_twice() {
        let sample = |name, label, value| Sample::new(name, &[("source", label)], value).unwrap();
        let samples =
            [sample(ADDED, "b", 1.5), sample(ADDED, "a", 2.0), sample(ADDED, "b", 3.0), sample(BUILD, "", 1.0)];
        let text = write(&samples);
        let expected = ["lrl_added_bytes{source=\"a\"} 2", "lrl_added_bytes{source=\"b\"} 1.5"];
        assert!(text.starts_with("# HELP lrl_build_info "), "{text}");
        assert!(text.ends_with(&format!("# TYPE lrl_added_bytes gauge\n{}\n", expected.join("\n"))), "{text}");
        assert!(Sample::new(ADDED, &[], f64::NAN).is_none() && Sample::new("other", &[], 1.0).is_none());
    }

    proptest! {
        #[test]
        fn any_label_comes_back(source: String, store: String, value: i64) {
            let labels = [("source", source.as_str()), ("store", store.as_str())];
            let text = write(&[Sample::new(ADDED, &labels, value as f64).unwrap()]);
            let found = read(&text);
            assert_eq!((found.len(), found[0].label("source"), found[0].label("store")), (1, &*source, &*store));
            assert_eq!(found[0].value, value as f64);
        }

        #[test]
        fn any_text_is_read(text: String) {
            let _ = read(&format!("lrl_added_bytes{{{text}"));
        }
    }
}
