//! Writing the XML of replies.

use std::fmt::Write as _;

use quick_xml::escape::partial_escape as escape;

/// A document being written.
#[derive(Default)]
pub(crate) struct Xml(String);

impl Xml {
    fn write(&mut self, what: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.0.write_fmt(what);
    }

    /// `<name>text</name>`.
    pub(crate) fn text(&mut self, name: &str, text: impl AsRef<str>) -> &mut Self {
        self.write(format_args!("<{name}>{}</{name}>", escape(text.as_ref())));
        self
    }

    /// The same of a number or a flag.
    #[expect(clippy::needless_pass_by_value, reason = "numbers and flags are read best as they are")]
    pub(crate) fn value(&mut self, name: &str, value: impl ToString) -> &mut Self {
        self.text(name, value.to_string())
    }

    /// Text without an element of its own.
    pub(crate) fn raw(&mut self, text: impl AsRef<str>) -> &mut Self {
        self.write(format_args!("{}", escape(text.as_ref())));
        self
    }

    /// The same if there is something to write.
    pub(crate) fn optional(&mut self, name: &str, text: Option<impl ToString>) -> &mut Self {
        if let Some(text) = text {
            self.text(name, text.to_string());
        }
        self
    }

    /// `<name>...</name>`.
    pub(crate) fn element(&mut self, name: &str, inside: impl FnOnce(&mut Self)) -> &mut Self {
        self.write(format_args!("<{name}>"));
        inside(self);
        self.write(format_args!("</{name}>"));
        self
    }

    /// `<name><item>...</item>...</name>`: EC2's lists.
    pub(crate) fn list<T>(&mut self, name: &str, items: &[T], each: impl FnMut(&mut Self, &T)) -> &mut Self {
        self.sequence(name, "item", items, each)
    }

    /// `<name><member>...</member>...</name>`: the lists of Auto Scaling.
    pub(crate) fn members<T>(&mut self, name: &str, items: &[T], each: impl FnMut(&mut Self, &T)) -> &mut Self {
        self.sequence(name, "member", items, each)
    }

    fn sequence<T>(&mut self, name: &str, item: &str, items: &[T], mut each: impl FnMut(&mut Self, &T)) -> &mut Self {
        self.element(name, |xml| {
            for found in items {
                xml.element(item, |xml| each(xml, found));
            }
        })
    }

    /// The whole document.
    pub(crate) fn finish(&self, root: &str, namespace: Option<&str>) -> String {
        let namespace = namespace.map_or_else(String::new, |namespace| format!(" xmlns=\"{namespace}\""));
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root}{namespace}>{}</{root}>", self.0)
    }
}
