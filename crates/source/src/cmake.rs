//! CMake's language as a list of calls.
//!
//! The grammar is that of `cmake-language(7)`: a file is a sequence of calls of commands with
//! arguments that are bare, quoted or in brackets. Nothing is evaluated: a reference such as
//! `${NAME}` stays as it is written.

/// The largest file that is read, in bytes. PyTorch's largest has 80,000.
pub const MAX_BYTES: u64 = 8 << 20;

/// A call of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The command in lower case: CMake does not tell cases of commands apart.
    pub name: String,
    /// Its arguments. A parenthesis inside the call is a bare argument of its own.
    pub arguments: Vec<Argument>,
    /// The line of its name, from 1.
    pub line: u32,
}

/// An argument as it is written, escapes of quoted ones undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// The text.
    pub text: String,
    /// How it was written.
    pub form: Form,
}

/// How an argument is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Without quotes.
    Bare,
    /// `"…"`
    Quoted,
    /// `[[…]]`, in which nothing is a reference.
    Bracket,
}

/// Where a text stops being CMake's language.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Malformed {
    /// The line, from 1.
    pub line: u32,
    /// What is wrong.
    pub what: &'static str,
}

/// The calls of a file, in order.
///
/// # Errors
/// [`Malformed`] where the text is not CMake's language. The calls before are lost: a file
/// that is half understood would hide options.
pub fn calls(text: &str) -> Result<Vec<Call>, Malformed> {
    let mut reader = Reader { text: text.as_bytes(), at: 0, line: 1 };
    let mut found = Vec::new();
    while reader.skip_to_command()? {
        let line = reader.line;
        let name = reader.name().ok_or(Malformed { line, what: "a command's name is expected" })?;
        reader.blanks();
        if reader.next() != Some(b'(') {
            return Err(reader.malformed("a parenthesis is expected after a command's name"));
        }
        let arguments = reader.arguments()?;
        found.push(Call { name, arguments, line });
    }
    Ok(found)
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    line: u32,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        if byte == b'\n' {
            self.line += 1;
        }
        Some(byte)
    }

    fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { line: self.line, what }
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    /// Passes white space and comments; whether anything is left.
    fn skip_to_command(&mut self) -> Result<bool, Malformed> {
        loop {
            match self.peek() {
                None => return Ok(false),
                Some(byte) if byte.is_ascii_whitespace() => {
                    self.next();
                }
                Some(b'#') => self.comment()?,
                // A byte-order mark at the start is no part of the language.
                Some(0xef) if self.at == 0 && self.text.starts_with("\u{feff}".as_bytes()) => {
                    self.at = 3;
                }
                // `@NAME@`, which configure_file() replaces in templates.
                Some(b'@') => {
                    let rest = &self.text[self.at + 1..];
                    let length = rest
                        .iter()
                        .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
                        .count();
                    if length == 0 || rest.get(length) != Some(&b'@') {
                        return Ok(true);
                    }
                    self.at += length + 2;
                }
                Some(_) => return Ok(true),
            }
        }
    }

    fn comment(&mut self) -> Result<(), Malformed> {
        self.at += 1;
        if let Some(equals) = self.bracket_ahead() {
            self.bracket(equals)?;
            return Ok(());
        }
        while !matches!(self.peek(), None | Some(b'\n')) {
            self.at += 1;
        }
        Ok(())
    }

    fn name(&mut self) -> Option<String> {
        let start = self.at;
        while matches!(self.peek(), Some(byte) if byte.is_ascii_alphanumeric() || byte == b'_') {
            self.at += 1;
        }
        let name = std::str::from_utf8(&self.text[start..self.at]).ok()?;
        (!name.is_empty()).then(|| name.to_ascii_lowercase())
    }

    fn arguments(&mut self) -> Result<Vec<Argument>, Malformed> {
        let mut depth = 0usize;
        let mut found = Vec::new();
        loop {
            let Some(byte) = self.peek() else {
                return Err(self.malformed("a call has no closing parenthesis"));
            };
            match byte {
                b'(' | b')' => {
                    self.at += 1;
                    if byte == b')' && depth == 0 {
                        return Ok(found);
                    }
                    depth = if byte == b'(' { depth + 1 } else { depth - 1 };
                    found.push(Argument { text: char::from(byte).into(), form: Form::Bare });
                }
                b'#' => self.comment()?,
                b'"' => found.push(self.quoted()?),
                b'[' if self.bracket_ahead().is_some() => {
                    let equals = self.bracket_ahead().unwrap_or(0);
                    let text = self.bracket(equals)?;
                    found.push(Argument { text, form: Form::Bracket });
                }
                byte if byte.is_ascii_whitespace() => {
                    self.next();
                }
                _ => found.push(self.bare()),
            }
        }
    }

    fn bare(&mut self) -> Argument {
        let start = self.at;
        while let Some(byte) = self.peek() {
            match byte {
                b'\\' => {
                    self.next();
                    self.next();
                }
                // A quote inside a bare argument belongs to it, up to the next one.
                b'"' => {
                    self.next();
                    while !matches!(self.peek(), None | Some(b'"' | b'\n')) {
                        self.next();
                    }
                    if self.peek() == Some(b'"') {
                        self.next();
                    }
                }
                // `$(name)` is of make; its parentheses do not end the argument.
                b'$' if self.text.get(self.at + 1) == Some(&b'(') => {
                    while !matches!(self.peek(), None | Some(b')' | b'\n')) {
                        self.next();
                    }
                    if self.peek() == Some(b')') {
                        self.next();
                    }
                }
                b'(' | b')' | b'#' => break,
                byte if byte.is_ascii_whitespace() => break,
                _ => {
                    self.next();
                }
            }
        }
        let text = String::from_utf8_lossy(&self.text[start..self.at.min(self.text.len())]);
        Argument { text: text.into_owned(), form: Form::Bare }
    }

    fn quoted(&mut self) -> Result<Argument, Malformed> {
        let opened = self.line;
        self.at += 1;
        let mut bytes = Vec::new();
        loop {
            match self.next() {
                None => return Err(Malformed { line: opened, what: "a quote is not closed" }),
                Some(b'"') => break,
                Some(b'\\') => match self.next() {
                    // A backslash at the end of a line joins it with the next.
                    Some(b'\n') | None => {}
                    Some(b'n') => bytes.push(b'\n'),
                    Some(b't') => bytes.push(b'\t'),
                    Some(b'r') => bytes.push(b'\r'),
                    Some(other) => bytes.push(other),
                },
                Some(byte) => bytes.push(byte),
            }
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Argument { text, form: Form::Quoted })
    }

    /// The number of equals signs of a bracket that opens here.
    fn bracket_ahead(&self) -> Option<usize> {
        let rest = self.text.get(self.at..)?;
        let rest = rest.strip_prefix(b"[")?;
        let equals = rest.iter().take_while(|byte| **byte == b'=').count();
        (rest.get(equals) == Some(&b'[')).then_some(equals)
    }

    fn bracket(&mut self, equals: usize) -> Result<String, Malformed> {
        let opened = self.line;
        let start = self.at + equals + 2;
        self.at = start;
        let mut close = vec![b'='; equals + 2];
        (close[0], close[equals + 1]) = (b']', b']');
        while self.at < self.text.len() {
            if self.text[self.at..].starts_with(&close) {
                let text = String::from_utf8_lossy(&self.text[start..self.at]).into_owned();
                self.at += close.len();
                return Ok(text);
            }
            self.next();
        }
        Err(Malformed { line: opened, what: "a bracket is not closed" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(call: &Call) -> Vec<&str> {
        call.arguments.iter().map(|argument| argument.text.as_str()).collect()
    }

    #[test]
    fn calls_have_names_in_lower_case_and_all_forms_of_arguments() {
        let found = calls(
            "# comment ( \" \n\
             OPTION(USE_CUDA \"Use \\\"CUDA\\\"\" ON) #[[ a\nbracket ]] set(A [==[ raw ${X} ]] ]==])\n\
             if(NOT (A AND \"${B}\") # why\n OR C)\nendif()\n",
        )
        .unwrap();
        assert_eq!(found.len(), 4);
        assert_eq!((found[0].name.as_str(), found[0].line), ("option", 2));
        assert_eq!(texts(&found[0]), ["USE_CUDA", "Use \"CUDA\"", "ON"]);
        assert_eq!(texts(&found[1]), ["A", " raw ${X} ]] "]);
        assert_eq!(found[1].arguments[1].form, Form::Bracket);
        assert_eq!(texts(&found[2]), ["NOT", "(", "A", "AND", "${B}", ")", "OR", "C"]);
        assert_eq!((found[3].name.as_str(), found[3].line), ("endif", 6));
    }

    #[test]
    fn bare_arguments_may_hold_quotes_escapes_and_references() {
        let found = calls("x(-DA=\"b c\" \\( $<1:a;b> $(make) a\\ b)").unwrap();
        assert_eq!(texts(&found[0]), ["-DA=\"b c\"", "\\(", "$<1:a;b>", "$(make)", "a\\ b"]);
    }

    #[test]
    fn placeholders_of_templates_are_passed_over() {
        let found = calls("set(A @A@)\n@FLAGS@\nset(B)\n").unwrap();
        assert_eq!(found.len(), 2);
        assert!(calls("@\nset(B)\n").is_err());
    }

    #[test]
    fn what_is_not_cmake_says_where() {
        let line = |text: &str| calls(text).unwrap_err().line;
        assert_eq!(line("set(A\n\nB"), 3);
        assert_eq!(line("\nset(A \"B"), 2);
        assert_eq!(line("a()\nset A"), 2);
        assert_eq!(line("{}"), 1);
        assert_eq!(line("set([[a)"), 1);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[\\PC\\n]{0,200}") {
            let _ = calls(&text);
        }

        #[test]
        fn no_soup_of_its_signs_makes_it_panic(text in "[a(\\[\\]=\"#\\\\$ \\n)]{0,100}") {
            let _ = calls(&text);
        }
    }
}
