//! Kubernetes quantities as bytes.
//!
//! Source of the grammar and of the golden cases: apimachinery `pkg/api/resource/quantity.go` and its tests.

/// Bytes in a GiB.
pub const GIB: u128 = 1 << 30;

/// Why a text is not a quantity.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a Kubernetes quantity: {reason}")]
pub struct QuantityError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// The bytes a quantity stands for, rounded up to a whole byte as Kubernetes does (`100m` is 1).
pub fn bytes(text: &str) -> Result<u128, QuantityError> {
    let error = |reason| QuantityError { text: text.to_owned(), reason };
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    if unsigned.starts_with('-') {
        return Err(error("a size is not negative"));
    }
    let digits = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return Err(error("it has no digits"));
    }
    if fraction.contains('.') {
        return Err(error("it has two decimal points"));
    }
    // Kubernetes itself caps at 2^63-1; longer numbers are refused here before they can overflow.
    const MAX_DIGITS: usize = 19;
    if whole.len() > MAX_DIGITS || fraction.len() > MAX_DIGITS {
        return Err(error("it has too many digits"));
    }
    let mantissa: u128 = format!("{whole}{fraction}").parse().map_err(|_| error("it has too many digits"))?;
    let scale = 10u128.pow(u32::try_from(fraction.len()).unwrap_or(u32::MAX));
    let (multiplier, divisor) = suffix_factor(suffix).ok_or_else(|| error("its suffix is unknown"))?;
    let numerator = mantissa.checked_mul(multiplier).ok_or_else(|| error("it is too large"))?;
    let denominator = scale.checked_mul(divisor).ok_or_else(|| error("it is too small"))?;
    Ok(numerator.div_ceil(denominator))
}

/// Multiplier and divisor of a suffix.
fn suffix_factor(suffix: &str) -> Option<(u128, u128)> {
    Some(match suffix {
        "" => (1, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        exponent => {
            let digits = exponent.strip_prefix(['e', 'E'])?;
            let power: i32 = digits.parse().ok()?;
            let factor = 10u128.checked_pow(power.unsigned_abs()).filter(|_| power.abs() <= 18)?;
            if power >= 0 { (factor, 1) } else { (1, factor) }
        }
    })
}

/// A whole number of GiB as a quantity.
pub fn from_gib(gib: u32) -> String {
    format!("{gib}Gi")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_cases_of_apimachinery() {
        for (text, expected) in [
            ("0", 0),
            ("0n", 0),
            ("1", 1),
            ("100m", 1),
            ("1.5", 2),
            ("1k", 1_000),
            ("1Ki", 1_024),
            ("8Ki", 8_192),
            ("7Mi", 7 << 20),
            ("6Gi", 6 << 30),
            ("5Ti", 5 << 40),
            ("4Pi", 4 << 50),
            ("3Ei", 3 << 60),
            ("10E", 10_000_000_000_000_000_000),
            ("1.5Gi", 3 << 29),
            ("0.5Gi", 1 << 29),
            (".5Gi", 1 << 29),
            ("5.Gi", 5 << 30),
            ("1e3", 1_000),
            ("1E3", 1_000),
            ("1e-3", 1),
            ("12.34e2", 1_234),
            ("+100", 100),
            ("100000G", 100_000_000_000_000),
            ("1u", 1),
            ("0.1Ki", 103),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "", "Gi", "1.1.M", "1+1.0M", "0.1mi", "0.1am", "aoeu", ".5i", "1i", "-3.01i", "-3", " 1", "1 Gi", "1e19",
            "9e99",
        ] {
            assert!(bytes(text).is_err(), "{text:?} was taken");
        }
    }
}
