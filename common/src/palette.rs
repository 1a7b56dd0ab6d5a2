//! The colours and dashes of runs in pages, in SVG and in a terminal: one place, so that a run looks the same
//! everywhere.

/// A colour: red, green and blue.
pub type Rgb = [u8; 3];

/// Distinct hues of about the same lightness: readable on white and on dark, neighbours far apart.
pub const HUES: [Rgb; 10] = [
    [0x3b, 0x78, 0xd8], // blue
    [0xd9, 0x73, 0x0d], // orange
    [0x2f, 0x9e, 0x4f], // green
    [0xd6, 0x3f, 0x52], // red
    [0x8d, 0x5b, 0xd6], // purple
    [0x15, 0x9a, 0xa6], // teal
    [0xd1, 0x49, 0x9b], // pink
    [0x8a, 0x8a, 0x14], // olive
    [0xa0, 0x6b, 0x45], // brown
    [0x6f, 0x7f, 0x92], // slate
];

/// The same for a terminal of 256 colours: parameters of SGR sequences.
pub const SGR: [&str; HUES.len()] = [
    "38;5;68", "38;5;172", "38;5;35", "38;5;167", "38;5;98", "38;5;31", "38;5;169", "38;5;100", "38;5;131",
    "38;5;66",
];

/// Lengths of dashes and gaps, one for each round of the hues.
pub const DASHES: [&[u8]; 4] = [&[], &[6, 3], &[2, 2], &[9, 3, 2, 3]];

/// Returns the hue of the run at a place.
pub fn hue(place: usize) -> Rgb {
    HUES[place % HUES.len()]
}

/// Returns the dashes of the run at a place.
pub fn dashes(place: usize) -> &'static [u8] {
    DASHES[place / HUES.len() % DASHES.len()]
}

/// Returns a colour as in CSS, such as `#3b78d8`.
pub fn css([red, green, blue]: Rgb) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn linear(part: u8) -> f64 {
        let part = f64::from(part) / 255.0;
        if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
    }

    /// Returns the contrast of two colours (WCAG 2).
    fn contrast(one: Rgb, other: Rgb) -> f64 {
        let light = |[red, green, blue]: Rgb| {
            0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue) + 0.05
        };
        light(one).max(light(other)) / light(one).min(light(other))
    }

    /// Returns the coordinates of a colour in Oklab.
    fn oklab(colour: Rgb) -> [f64; 3] {
        let [red, green, blue] = colour.map(linear);
        let l = (0.412_221_470_8 * red + 0.536_332_536_3 * green + 0.051_445_992_9 * blue).cbrt();
        let m = (0.211_903_498_2 * red + 0.680_699_545_1 * green + 0.107_396_956_6 * blue).cbrt();
        let s = (0.088_302_461_9 * red + 0.281_718_837_6 * green + 0.629_978_700_5 * blue).cbrt();
        [
            0.210_454_255_3 * l + 0.793_617_785_0 * m - 0.004_072_046_8 * s,
            1.977_998_495_1 * l - 2.428_592_205_0 * m + 0.450_593_709_9 * s,
            0.025_904_037_1 * l + 0.782_771_766_2 * m - 0.808_675_766_0 * s,
        ]
    }

    #[test]
    fn hues_are_seen_on_light_and_dark_and_differ() {
        for (place, &one) in HUES.iter().enumerate() {
            assert!(contrast(one, [255; 3]) > 3.0 && contrast(one, [0x15, 0x17, 0x1c]) > 3.0, "{}", css(one));
            for &other in &HUES[..place] {
                let apart = oklab(one).iter().zip(oklab(other)).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
                assert!(apart.sqrt() > 0.09, "{} and {}", css(one), css(other));
            }
        }
    }

    /// Returns the parameters for the nearest of 256 colours.
    fn sgr(colour: Rgb) -> String {
        // The colour cube has six levels of each part.
        let level = |part: u8| match part {
            0..48 => 0_u8,
            48..115 => 1,
            _ => (part - 35) / 40,
        };
        let [red, green, blue] = colour.map(level);
        format!("38;5;{}", 16 + 36 * red + 6 * green + blue)
    }

    #[test]
    fn runs_differ_in_colour_or_dashes() {
        let pens: HashSet<_> = (0..40).map(|place| (css(hue(place)), dashes(place))).collect();
        assert_eq!(pens.len(), 40);
        assert_eq!(SGR.iter().collect::<HashSet<_>>().len(), HUES.len());
        assert_eq!(HUES.map(sgr), SGR);
        assert_eq!((css(hue(0)), sgr([255, 0, 0])), ("#3b78d8".to_owned(), "38;5;196".to_owned()));
    }
}
