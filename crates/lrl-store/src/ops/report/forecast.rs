//! How fast something grows, and on which day a disk is full at that rate. Pure.

const DAY: f64 = 86_400.0;

/// Fewer seconds than these say nothing about a rate.
const LEAST_SPAN: i64 = 2 * 86_400;

/// Returns by how many bytes a day a series of (seconds since 1970, bytes) grows: the slope of the straight line that fits it best. `None`
/// for a series that is too short to tell.
pub fn rate(series: &[(i64, u64)]) -> Option<f64> {
    let (first, last) = (series.first()?.0, series.last()?.0);
    if last - first < LEAST_SPAN {
        return None;
    }
    let number = series.len() as f64;
    let points: Vec<(f64, f64)> = series.iter().map(|(at, bytes)| ((at - first) as f64 / DAY, *bytes as f64)).collect();
    let mean = |of: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / number;
    let (x, y) = (mean(&|point| point.0), mean(&|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let slope = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>() / spread;
    slope.is_finite().then_some(slope)
}

/// Returns by how many bytes a day single additions (seconds since 1970, bytes) add up, over the time from `begin` to `now`. `None` if that is too
/// short to tell.
pub fn rate_of_additions(added: impl IntoIterator<Item = (i64, u64)>, begin: i64, now: i64) -> Option<f64> {
    let span = now.checked_sub(begin).filter(|span| *span >= LEAST_SPAN)?;
    let bytes: u64 = added.into_iter().filter(|(at, _)| (begin..=now).contains(at)).map(|(_, bytes)| bytes).sum();
    Some(bytes as f64 / (span as f64 / DAY))
}

/// Returns when `free` bytes are used up at `rate` bytes a day, in seconds since 1970; `None` if they never are, or in more than a hundred
/// years.
pub fn full_at(free: u64, rate: f64, now: i64) -> Option<i64> {
    let days = free as f64 / rate;
    (rate > 0.0 && days < 36_525.0).then(|| now + (days * DAY) as i64)
}

#[cfg(test)]
mod tests {
    use super::{full_at, rate, rate_of_additions};

    #[test]
    fn a_steady_series_has_its_slope() {
        let series: Vec<_> = (0..30).map(|day| (day * 86_400, 1000 + 50 * day as u64)).collect();
        assert!((rate(&series).unwrap() - 50.0).abs() < 0.001);
        assert_eq!(rate(&series[..2]), None, "one day says nothing");
        assert_eq!(rate(&[]), None);
        let shrinking: Vec<_> = (0..30).map(|day| (day * 86_400, 9000 - 10 * day as u64)).collect();
        assert!(rate(&shrinking).unwrap() < 0.0);
    }

    #[test]
    fn additions_are_spread_over_the_time() {
        let added = (0..40).map(|day| (day * 86_400, 7));
        let rate = rate_of_additions(added, 10 * 86_400, 39 * 86_400).unwrap();
        assert!((rate - 7.0 * 30.0 / 29.0).abs() < 0.001);
        assert_eq!(rate_of_additions([(5, 7)], 0, 86_400), None);
    }

    #[test]
    fn a_disk_is_full_when_its_free_bytes_are_used_up() {
        assert_eq!(full_at(100, 10.0, 1000), Some(1000 + 10 * 86_400));
        assert_eq!(full_at(100, 0.0, 0), None);
        assert_eq!(full_at(100, -5.0, 0), None);
        assert_eq!(full_at(u64::MAX, 0.1, 0), None);
    }
}
