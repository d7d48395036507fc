//! A filter's grammar.

use super::lexer::{Token, tokens};
use super::{FilterError, Node};

/// Deepest nesting, so that no filter reaches the stack's end.
const DEPTH_MAX: usize = 64;

pub(super) fn parse(text: &str) -> Result<Node, FilterError> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, end: text.len() };
    let node = parser.expression(0)?;
    match parser.peek() {
        None => Ok(node),
        Some(Token::Word(word)) if word == "AND" || word == "OR" => {
            Err(parser.error("AND and OR do not mix without parentheses"))
        }
        Some(_) => Err(parser.error("an AND, an OR or the end was expected here")),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    end: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    fn error(&self, reason: &str) -> FilterError {
        let position = self.tokens.get(self.at).map_or(self.end, |(position, _)| *position);
        FilterError { position, reason: reason.to_owned() }
    }

    fn take(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        self.at += usize::from(found);
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(next)) if next == word);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, token: &Token, reason: &str) -> Result<(), FilterError> {
        if self.take(token) { Ok(()) } else { Err(self.error(reason)) }
    }

    fn text(&mut self) -> Result<String, FilterError> {
        match self.peek() {
            Some(Token::Text(text)) => {
                let text = text.clone();
                self.at += 1;
                Ok(text)
            }
            _ => Err(self.error("a text in double quotes was expected here")),
        }
    }

    fn expression(&mut self, depth: usize) -> Result<Node, FilterError> {
        if depth > DEPTH_MAX {
            return Err(self.error("it is nested too deeply"));
        }
        let mut nodes = vec![self.term(depth)?];
        let word = match self.peek() {
            Some(Token::Word(word)) if word == "AND" || word == "OR" => word.clone(),
            _ => return Ok(nodes.remove(0)),
        };
        while self.take_word(&word) {
            nodes.push(self.term(depth)?);
        }
        Ok(if word == "AND" { Node::All(nodes) } else { Node::Any(nodes) })
    }

    fn term(&mut self, depth: usize) -> Result<Node, FilterError> {
        if depth > DEPTH_MAX {
            return Err(self.error("it is nested too deeply"));
        }
        if self.take(&Token::Minus) || self.take_word("NOT") {
            return Ok(Node::Not(Box::new(self.term(depth + 1)?)));
        }
        if self.take(&Token::Open) {
            let node = self.expression(depth + 1)?;
            self.expect(&Token::Close, "a closing parenthesis was expected here")?;
            return Ok(node);
        }
        if self.take_word("hasPrefix") {
            self.expect(&Token::Open, "hasPrefix is followed by (attributes.key, \"prefix\")")?;
            self.attributes()?;
            self.expect(&Token::Dot, "attributes is followed by .key")?;
            let key = self.key()?;
            self.expect(&Token::Comma, "a comma was expected here")?;
            let prefix = self.text()?;
            self.expect(&Token::Close, "a closing parenthesis was expected here")?;
            return Ok(Node::HasPrefix { key, prefix });
        }
        self.attributes()?;
        if self.take(&Token::Colon) {
            return Ok(Node::Has { key: self.key()? });
        }
        self.expect(&Token::Dot, "attributes is followed by :key or .key")?;
        let key = self.key()?;
        if self.take(&Token::Equals) {
            return Ok(Node::Equals { key, value: self.text()? });
        }
        self.expect(&Token::Differs, "= or != was expected here")?;
        Ok(Node::Not(Box::new(Node::Equals { key, value: self.text()? })))
    }

    fn attributes(&mut self) -> Result<(), FilterError> {
        if self.take_word("attributes") {
            return Ok(());
        }
        Err(self.error(
            "only attributes can be asked for: attributes:key, attributes.key = \"value\" or hasPrefix",
        ))
    }

    fn key(&mut self) -> Result<String, FilterError> {
        match self.peek() {
            Some(Token::Word(key) | Token::Text(key)) => {
                let key = key.clone();
                self.at += 1;
                Ok(key)
            }
            _ => Err(self.error("an attribute's key was expected here")),
        }
    }
}
