//! Characters in rows and columns, with a colour each.

use std::fmt::Write;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Colour {
    #[default]
    Plain,
    Dim,
    Bold,
    Good,
    Bad,
    Down,
    Up,
}

impl Colour {
    /// ECMA-48, "select graphic rendition"; the terminal's own palette, light or dark.
    const fn code(self) -> &'static str {
        match self {
            Colour::Plain => "0",
            Colour::Dim => "0;2",
            Colour::Bold => "0;1",
            Colour::Good => "0;32",
            Colour::Bad => "0;31",
            Colour::Down => "0;36",
            Colour::Up => "0;33",
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Grid {
    width: usize,
    cells: Vec<(char, Colour)>,
}

impl Grid {
    pub(super) fn new((width, height): (usize, usize)) -> Self {
        Grid { width, cells: vec![(' ', Colour::Plain); width * height] }
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn height(&self) -> usize {
        self.cells.len().checked_div(self.width).unwrap_or(0)
    }

    /// Writes from there on, as far as the row goes. Gives the column behind the last one.
    pub(super) fn put(&mut self, (column, row): (usize, usize), colour: Colour, text: &str) -> usize {
        let mut at = column;
        for c in text.chars() {
            if at >= self.width || row >= self.height() {
                break;
            }
            self.cells[row * self.width + at] = (c, colour);
            at += 1;
        }
        at
    }

    fn rows(&self) -> impl Iterator<Item = &[(char, Colour)]> {
        self.cells.chunks(self.width.max(1))
    }

    /// Without colours, without blanks at the ends of lines.
    pub(super) fn text(&self) -> String {
        let line = |row: &[(char, Colour)]| {
            row.iter().map(|(c, _)| *c).collect::<String>().trim_end().to_owned() + "\n"
        };
        let text: String = self.rows().map(line).collect();
        text.trim_end().to_owned() + "\n"
    }

    /// As a terminal takes it. Each line is placed, so that none of the last column wraps.
    pub(super) fn escapes(&self) -> String {
        let mut out = String::new();
        for (number, row) in (1..).zip(self.rows()) {
            let _ = write!(out, "\x1b[{number};1H\x1b[0m");
            let mut colour = Colour::Plain;
            for (c, wanted) in row {
                if *wanted != colour {
                    colour = *wanted;
                    let _ = write!(out, "\x1b[{}m", colour.code());
                }
                out.push(*c);
            }
        }
        out.push_str("\x1b[0m");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_cut_and_nothing_is_written_outside() {
        let mut grid = Grid::new((4, 2));
        assert_eq!(grid.put((2, 0), Colour::Good, "abc"), 4);
        grid.put((0, 9), Colour::Plain, "x");
        grid.put((9, 1), Colour::Plain, "x");
        assert_eq!(grid.text(), "  ab\n");
        assert_eq!(grid.escapes(), "\x1b[1;1H\x1b[0m  \x1b[0;32mab\x1b[2;1H\x1b[0m    \x1b[0m");
        assert_eq!(Grid::new((0, 0)).text(), "\n");
    }
}
