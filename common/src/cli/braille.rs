//! Pictures of Braille dots, two by four a character. Used by run-report and run-status.

/// The bits of the dots of a character, by row and column.
const DOTS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

/// The character without any dot.
const NONE: u32 = 0x2800;

/// Calls `dot` with the column and row of each dot of a straight line without gaps, column by column. A line
/// that goes back stays in its first column.
pub fn straight(
    (from_x, from_y): (usize, usize),
    (to_x, to_y): (usize, usize),
    dot: &mut dyn FnMut(usize, usize),
) {
    let to_x = to_x.max(from_x);
    let steps = (to_x - from_x).max(1);
    let mut last = from_y;
    for step in 1..=steps {
        let now = if to_y >= from_y {
            from_y + (to_y - from_y) * step / steps
        } else {
            from_y - (from_y - to_y) * step / steps
        };
        for y in last.min(now)..=last.max(now) {
            dot((from_x + step).min(to_x), y);
        }
        last = now;
    }
}

/// A picture of dots, drawn with numbered pens.
#[derive(Clone, Debug)]
pub struct Canvas {
    width: usize,
    /// The dots of each character, by row.
    dots: Vec<u8>,
    /// The last pen in each character.
    pens: Vec<usize>,
    /// Columns with a mark at the top.
    marked: Vec<bool>,
}

impl Canvas {
    /// Creates an empty picture of this size in characters.
    pub fn new(width: usize, height: usize) -> Self {
        Self {
            width,
            dots: vec![0; width * height],
            pens: vec![0; width * height],
            marked: vec![false; width],
        }
    }

    /// Draws the dot in this column and row, from the upper left.
    pub fn dot(&mut self, x: usize, y: usize, pen: usize) {
        let at = y / 4 * self.width + x / 2;
        if x / 2 < self.width
            && let Some(dots) = self.dots.get_mut(at)
        {
            *dots |= DOTS[y % 4][x % 2];
            self.pens[at] = pen;
        }
    }

    /// Marks the character above this column of dots with an `x`.
    pub fn mark(&mut self, x: usize) {
        if let Some(marked) = self.marked.get_mut(x / 2) {
            *marked = true;
        }
    }

    /// Returns the rows of characters. `colour` is the colour of a pen, as SGR parameters.
    pub fn rows(&self, colour: impl Fn(usize) -> Option<&'static str>) -> Vec<String> {
        let row = |(number, dots): (usize, &[u8])| {
            let mut line = String::new();
            let mut now = None;
            for (x, dots) in dots.iter().enumerate() {
                let is_marked = number == 0 && self.marked[x];
                let wanted =
                    if is_marked || *dots == 0 { None } else { colour(self.pens[number * self.width + x]) };
                if wanted != now {
                    line.push_str("\u{1b}[");
                    line.push_str(wanted.unwrap_or("0"));
                    line.push('m');
                    now = wanted;
                }
                line.push(match dots {
                    _ if is_marked => 'x',
                    0 => ' ',
                    dots => char::from_u32(NONE + u32::from(*dots)).unwrap_or(' '),
                });
            }
            let end = line.trim_end().len();
            line.truncate(end);
            if now.is_some() {
                line.push_str("\u{1b}[0m");
            }
            line
        };
        self.dots.chunks(self.width.max(1)).enumerate().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_no_gaps() {
        let drawn = |from, to| {
            let mut dots = Vec::new();
            straight(from, to, &mut |x, y| dots.push((x, y)));
            dots
        };
        assert_eq!(drawn((0, 0), (2, 4)), [(1, 0), (1, 1), (1, 2), (2, 2), (2, 3), (2, 4)]);
        assert_eq!(drawn((1, 3), (1, 1)), [(1, 1), (1, 2), (1, 3)]);
        assert_eq!(drawn((5, 0), (3, 1)), [(5, 0), (5, 1)]);
    }

    #[test]
    fn dots_are_characters_in_the_colour_of_their_pen() {
        let mut canvas = Canvas::new(3, 2);
        for (x, y) in [(0, 0), (1, 1), (2, 7), (9, 0), (0, 99)] {
            canvas.dot(x, y, 0);
        }
        assert_eq!(canvas.rows(|_| None), ["⠑", " ⡀"]);
        canvas.dot(0, 4, 1);
        canvas.mark(5);
        let colour = |pen| [None, Some("36")][pen];
        assert_eq!(canvas.rows(colour), ["⠑ x", "\u{1b}[36m⠁\u{1b}[0m⡀"]);
    }
}
