use super::*;
use proptest::prelude::*;

/// A source that returns a few bytes per read.
struct Slow<'a>(&'a [u8], usize);

impl Read for Slow<'_> {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let length = self.0.len().min(self.1).min(block.len());
        block[..length].copy_from_slice(&self.0[..length]);
        self.0 = &self.0[length..];
        Ok(length)
    }
}

type Table = Vec<Vec<Vec<u8>>>;

/// Reads a table in blocks of this size; returns its decoded fields.
fn read_by(text: &[u8], size: usize) -> Result<Table, String> {
    let mut records = Records::new(Slow(text, size), vec![0; 4]).map_err(|damage| damage.to_string())?;
    let (mut found, mut fields) = (Vec::new(), Vec::new());
    while let Some(record) = records.next_record().map_err(|damage| damage.to_string())? {
        record.split(&mut fields);
        assert_eq!(record.count(), fields.len());
        let raw: Vec<&[u8]> = fields.iter().map(|field| &record.bytes()[field.clone()]).collect();
        assert_eq!(raw.join(&b','), record.bytes(), "nothing is lost in a copy");
        found.push(record.cells().map(<[u8]>::to_vec).collect());
    }
    Ok(found)
}

/// Reads a table in blocks of all sizes; the size must make no difference.
fn read(text: &[u8]) -> Result<Vec<Vec<String>>, String> {
    let first = read_by(text, 1);
    assert!((2..20).all(|size| read_by(text, size) == first));
    let text = |cell| String::from_utf8(cell).unwrap();
    first.map(|table| table.into_iter().map(|cells| cells.into_iter().map(text).collect()).collect())
}

#[test]
fn fields_are_read_as_python_reads_them() {
    let text = b"\xef\xbb\xbfa,b,\"c,d\"\r\n1,,\"x \"\"y\"\"\nz\"\n\n\r\n2,q\"r,\"s\"t\r3,,";
    let expected: [&[&str]; 4] =
        [&["a", "b", "c,d"], &["1", "", "x \"y\"\nz"], &["2", "q\"r", "st"], &["3", "", ""]];
    assert_eq!(read(text).unwrap(), expected);
    assert_eq!(read(b"").unwrap(), Vec::<Vec<String>>::new());
    assert_eq!(read(b"a\n\"\"\n").unwrap(), [["a"], [""]]);
    assert_eq!(read(b"a,\"b\nc").unwrap_err(), "ends within quotes");
    assert_eq!(read(b"a,b\r\n1,2\r\n\r\n3,4\r").unwrap(), [["a", "b"], ["1", "2"], ["3", "4"]]);
}

#[test]
fn a_line_is_a_record_when_its_quotes_are_closed() {
    let cells = |line: &str| {
        let mut parser = Parser::default();
        let cells = parser.line(line.as_bytes())?.cells();
        Some(cells.map(|cell| String::from_utf8_lossy(cell).into_owned()).collect::<Vec<_>>())
    };
    assert_eq!(cells("a,\"b,\"\"c\",").unwrap(), ["a", "b,\"c", ""]);
    assert_eq!(cells("").unwrap(), [""]);
    assert_eq!(cells("a,\"b"), None);
    assert_eq!(cells("a\rb"), None);
}

fn any_table() -> impl Strategy<Value = Vec<Vec<String>>> {
    let cell = "[a-c0-9]{0,3}|([,\"\r\n\t #\u{0}\u{feff}a1]|.){0,6}";
    prop::collection::vec(prop::collection::vec(cell, 1..5), 0..5)
}

fn written(table: &[Vec<String>], end: &str) -> Vec<u8> {
    let mut text = Vec::new();
    for cells in table {
        for (number, cell) in cells.iter().enumerate() {
            if number > 0 {
                text.push(b',');
            }
            quote(cell.as_bytes(), &mut text);
        }
        text.extend_from_slice(end.as_bytes());
    }
    text
}

proptest! {
    #[test]
    fn what_was_quoted_is_read_as_it_was(table in any_table(), end in "\n|\r\n|\r", size in 1usize..50) {
        let cells = |cells: &Vec<String>| cells.iter().map(|cell| cell.as_bytes().to_vec()).collect();
        let expected: Table = table.iter().map(cells).collect();
        prop_assert_eq!(read_by(&written(&table, &end), size).unwrap(), expected);
    }

    #[test]
    fn any_bytes_are_read_as_the_csv_crate_reads_them(text in "([,\"\r\n a1]|.){0,40}", size in 1usize..50) {
        let mut reader =
            csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
        let cells = |record: csv::ByteRecord| record.iter().map(<[u8]>::to_vec).collect();
        let expected: Table = reader.byte_records().map(|record| cells(record.unwrap())).collect();
        match read_by(text.as_bytes(), size) {
            Ok(found) => prop_assert_eq!(found, expected),
            Err(damage) => prop_assert_eq!(damage, "ends within quotes"),
        }
    }

    #[test]
    fn the_start_of_a_table_has_its_first_records(table in any_table(), cut: prop::sample::Index) {
        let text = written(&table, "\n");
        let part = &text[..cut.index(text.len() + 1)];
        let Ok(found) = read_by(part, 7) else { return Ok(()) }; // the part ends inside quotes, which is an error
        let whole = found.len().saturating_sub(1);
        for (found, cells) in found[..whole].iter().zip(&table) {
            prop_assert!(found.iter().zip(cells).all(|(found, cell)| found == cell.as_bytes()));
        }
        prop_assert!(found.len() <= table.len());
    }
}
