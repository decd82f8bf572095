//! Plain text tables.
//!
//! Decides widths and sides only: two spaces between columns, no lines, no colours, so that a table survives a mail or a ticket.

/// A column's heading, and the side its cells lean to.
#[derive(Clone, Copy, Debug)]
pub enum Column {
    Left(&'static str),
    Right(&'static str),
}

impl Column {
    fn heading(self) -> &'static str {
        match self {
            Self::Left(heading) | Self::Right(heading) => heading,
        }
    }

    fn pad(self, cell: &str, width: usize) -> String {
        match self {
            Self::Left(_) => format!("{cell:<width$}"),
            Self::Right(_) => format!("{cell:>width$}"),
        }
    }
}

/// A heading and one line for each row.
pub fn table<const N: usize>(columns: [Column; N], rows: &[[String; N]]) -> String {
    let widths: [usize; N] = std::array::from_fn(|index| {
        let cells = rows.iter().map(|row| row[index].chars().count());
        cells.chain([columns[index].heading().len()]).max().unwrap_or(0)
    });
    let line = |cells: [&str; N]| {
        let padded: Vec<String> = (0..N)
            .map(|index| columns[index].pad(cells[index], widths[index]))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let heading = line(columns.map(Column::heading));
    let body = rows.iter().map(|row| line(row.each_ref().map(String::as_str)));
    std::iter::once(heading).chain(body).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            ["a".to_owned(), "12.0".to_owned()],
            ["långt".to_owned(), "1.5".to_owned()],
        ];
        assert_eq!(
            table([Column::Left("id"), Column::Right("kWh")], &rows),
            "id      kWh\na      12.0\nlångt   1.5"
        );
        assert_eq!(table([Column::Left("id"), Column::Right("kWh")], &[]), "id  kWh");
    }
}
