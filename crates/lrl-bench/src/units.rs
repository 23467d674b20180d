//! Figures as text.

/// Writes a number with about three digits.
pub fn number(figure: f64) -> String {
    match figure.abs() {
        ..0.0995 => format!("{figure:.3}"),
        ..9.995 => format!("{figure:.2}"),
        ..99.95 => format!("{figure:.1}"),
        _ => format!("{figure:.0}"),
    }
}

/// Writes seconds.
pub fn seconds(figure: f64) -> String {
    format!("{} s", number(figure))
}

/// Writes milliseconds.
pub fn milliseconds(figure: f64) -> String {
    format!("{} ms", number(figure))
}

/// Writes MiB.
pub fn mebibytes(figure: f64) -> String {
    format!("{} MiB", number(figure))
}

/// Writes bytes in decimal units.
pub fn bytes(figure: f64) -> String {
    match figure.abs() {
        ..999.5 => format!("{figure:.0} B"),
        ..999.5e3 => format!("{} KB", number(figure / 1e3)),
        ..999.5e6 => format!("{} MB", number(figure / 1e6)),
        _ => format!("{} GB", number(figure / 1e9)),
    }
}

#[cfg(test)]
mod tests {
    use super::{bytes, number};

    #[test]
    fn three_digits_are_enough() {
        assert_eq!([0.0412, 0.3, 9.999, 25.04, 360.2].map(number), ["0.041", "0.30", "10.0", "25.0", "360"]);
        assert_eq!(
            [793.0, -793.0, 46_120.0, 1.42e6, 2e9].map(bytes),
            ["793 B", "-793 B", "46.1 KB", "1.42 MB", "2.00 GB"]
        );
    }
}
