//! A filter's words.

use std::iter::Peekable;
use std::str::CharIndices;

use super::FilterError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Word(String),
    Text(String),
    Colon,
    Dot,
    Comma,
    Equals,
    Differs,
    Minus,
    Open,
    Close,
}

/// All words, each with its place in bytes.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, FilterError> {
    let mut tokens = Vec::new();
    let mut letters = text.char_indices().peekable();
    while let Some((position, letter)) = letters.next() {
        let token = match letter {
            _ if letter.is_ascii_whitespace() => continue,
            ':' => Token::Colon,
            '.' => Token::Dot,
            ',' => Token::Comma,
            '=' => Token::Equals,
            '-' => Token::Minus,
            '(' => Token::Open,
            ')' => Token::Close,
            '!' if letters.next_if(|(_, next)| *next == '=').is_some() => Token::Differs,
            '"' => Token::Text(quoted(position, &mut letters)?),
            _ if is_word(letter) => {
                let mut word = String::from(letter);
                while let Some((_, next)) = letters.next_if(|(_, next)| is_word(*next) || *next == '-') {
                    word.push(next);
                }
                Token::Word(word)
            }
            _ => return Err(FilterError { position, reason: format!("{letter:?} has no meaning here") }),
        };
        tokens.push((position, token));
    }
    Ok(tokens)
}

fn is_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

fn quoted(position: usize, letters: &mut Peekable<CharIndices<'_>>) -> Result<String, FilterError> {
    let mut text = String::new();
    let error = |position, reason: &str| FilterError { position, reason: reason.to_owned() };
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok(text),
            '\\' => match letters.next() {
                Some((_, escaped @ ('"' | '\\' | '\''))) => text.push(escaped),
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((_, 'r')) => text.push('\r'),
                Some((_, 'u')) => {
                    let mut digits = || letters.next().and_then(|(_, digit)| digit.to_digit(16));
                    let code = (0..4).try_fold(0, |code, _| Some(code * 16 + digits()?));
                    let letter = code.and_then(char::from_u32);
                    text.push(letter.ok_or_else(|| error(at, "\\u is followed by four digits"))?);
                }
                _ => return Err(error(at, "this escape is not known")),
            },
            _ => text.push(letter),
        }
    }
    Err(error(position, "this text has no closing quote"))
}
