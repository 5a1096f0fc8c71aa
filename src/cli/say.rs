//! How commands speak: answers on standard output, trouble on standard error, JSON where a script reads.

use super::Exit;
use super::args::Output;
use super::door::Trouble;
use serde::Serialize;
use std::io::{self, Write};

/// Says an answer as text or JSON, or what is in its way, and answers the code to end with.
pub(super) fn end<T: Serialize>(
    answer: Result<T, Trouble>,
    output: Output,
    text: impl FnOnce(&T, &mut dyn Write) -> io::Result<()>,
) -> Exit {
    let answer = match answer {
        Ok(answer) => answer,
        Err(trouble) => return complain(&trouble),
    };
    let mut out = io::stdout().lock();
    let said = match output {
        Output::Json => json(&answer, &mut out),
        Output::Text => text(&answer, &mut out),
    };
    over(said.and_then(|()| out.flush()))
}

/// Says what is in the way.
pub(super) fn complain(trouble: &Trouble) -> Exit {
    // Where nothing can be written, the code still says what happened.
    writeln!(io::stderr().lock(), "{trouble}").ok();
    trouble.exit
}

/// One JSON value on lines of its own.
pub(super) fn json<T: Serialize>(value: &T, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

/// A reader that has seen enough (`| head`) is no failure.
pub(super) fn over(said: io::Result<()>) -> Exit {
    match said {
        Ok(()) => Exit::Success,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Success,
        Err(_) => Exit::Bug,
    }
}

/// Rows in columns as wide as their widest cell; the last one is as long as it is.
pub(super) fn table(rows: &[Vec<String>], out: &mut dyn Write) -> io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        writeln!(out, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let mut out = Vec::new();
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        table(&[row(["a", "bcd", "e"]), row(["ab", "c", "long words"])], &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "  a   bcd  e\n  ab  c    long words\n");
    }

    #[test]
    fn a_reader_that_leaves_is_no_failure() {
        assert_eq!(over(Err(io::ErrorKind::BrokenPipe.into())), Exit::Success);
        assert_eq!(over(Err(io::ErrorKind::StorageFull.into())), Exit::Bug);
    }
}
