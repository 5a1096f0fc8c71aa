//! What an expression names, and whether its time is bounded; told before the first event.
//!
//! A filter's time grows with the expression times the body and no faster: nothing in it builds lists or texts, and a loop sees
//! nothing but its own item.

use super::filter::Problem;
use cel::common::ast::operators as op;
use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr,
};

/// The one variable.
pub(super) const ROOT: &str = "event";

/// What it has. `data` is the body.
const ATTRIBUTES: [&str; 8] =
    ["type", "subject", "topic", "time", "correlationid", "late", "possibleduplicate", DATA];

const DATA: &str = "data";

/// What the topic alone decides.
const OF_TOPIC: [&str; 3] = ["type", "subject", "topic"];

/// Attributes that there are, but not for a filter.
const LATER: [(&str, &str); 9] = [
    ("id", "is made of what the event is given behind the filter"),
    ("sequence", "is given behind the filter"),
    ("position", "is given behind the filter"),
    ("epoch", "is given behind the filter"),
    ("traceparent", "is given behind the filter"),
    ("snapshot", "is tieline's own, which passes every filter"),
    ("partitionkey", "is the same as event.subject"),
    ("source", "is the same for every event"),
    ("datacontenttype", "is the same for every event"),
];

/// How every type begins that a filter can meet.
const KIND_PREFIX: &str = "com.genesys.cloud.v2.";

/// Functions that take no longer than what they are given is long.
const FUNCTIONS: [&str; 27] = [
    op::CONDITIONAL,
    op::LOGICAL_AND,
    op::LOGICAL_OR,
    op::LOGICAL_NOT,
    op::NOT_STRICTLY_FALSE,
    op::SUBSTRACT,
    op::MULTIPLY,
    op::DIVIDE,
    op::MODULO,
    op::NEGATE,
    op::EQUALS,
    op::NOT_EQUALS,
    op::GREATER,
    op::GREATER_EQUALS,
    op::LESS,
    op::LESS_EQUALS,
    op::INDEX,
    op::IN,
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "string",
    "int",
    "uint",
    "double",
    "bool",
];

/// Below this a suggestion confuses more than it helps.
const LIKENESS_MIN: f64 = 0.6;

/// What an expression needs of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Uses {
    /// The attributes that it names.
    pub(super) attributes: Vec<&'static str>,
    /// Whether equal topics have equal answers.
    pub(super) only_topic: bool,
}

/// What the expression needs, or what is wrong with it.
pub(super) fn check(expression: &IdedExpr) -> Result<Uses, Problem> {
    let mut uses = Uses::default();
    uses.walk(expression, &[])?;
    uses.only_topic = uses.attributes.iter().all(|name| OF_TOPIC.contains(name));
    Ok(uses)
}

impl Uses {
    /// `items` are the variables of the loops around the expression, the innermost last.
    fn walk(&mut self, expression: &IdedExpr, items: &[&str]) -> Result<(), Problem> {
        match &expression.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.variable(name, items),
            Expr::Select(select) => self.select(select, items),
            Expr::Call(call) => self.call(call, items),
            Expr::List(list) => list.elements.iter().try_for_each(|one| self.walk(one, items)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.walk(&entry.key, items)?;
                    self.walk(&entry.value, items)
                }
                EntryExpr::StructField(field) => self.walk(&field.value, items),
            }),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension, items),
            Expr::Struct(found) => Err(Problem {
                problem: format!("makes a {}, and there are no types to make", found.type_name),
                fix: "compare the fields themselves".into(),
            }),
        }
    }

    fn select(&mut self, select: &SelectExpr, items: &[&str]) -> Result<(), Problem> {
        if let Expr::Ident(name) = &select.operand.expr {
            if name == ROOT {
                return self.attribute(&select.field, items);
            }
            if !items.contains(&name.as_str()) && !name.starts_with('@') {
                return Err(unknown(&format!("{name}.{}", select.field)));
            }
        }
        self.walk(&select.operand, items)
    }

    fn variable(&self, name: &str, items: &[&str]) -> Result<(), Problem> {
        if name.starts_with('@') || items.last() == Some(&name) {
            return Ok(()); // The answer of a loop so far, and its item.
        }
        if items.contains(&name) {
            let item = items.last().unwrap_or(&"");
            return Err(Problem {
                problem: format!(
                    "names {name} in the loop over {item}, so that its time could grow with the square of the body"
                ),
                fix: format!("name {item} alone in that loop"),
            });
        }
        if name == ROOT {
            return Err(Problem {
                problem: "names event as a whole".into(),
                fix: format!("name one of {}", known()),
            });
        }
        Err(unknown(name))
    }

    fn attribute(&mut self, name: &str, items: &[&str]) -> Result<(), Problem> {
        let Some(known) = ATTRIBUTES.iter().find(|known| **known == name) else {
            return Err(unknown(&format!("{ROOT}.{name}")));
        };
        if name == DATA
            && let Some(item) = items.last()
        {
            return Err(Problem {
                problem: format!(
                    "names event.data in the loop over {item}, so that its time could grow with the square of the body"
                ),
                fix: format!("name {item} alone in that loop"),
            });
        }
        if !self.attributes.contains(known) {
            self.attributes.push(known);
        }
        Ok(())
    }

    fn call(&mut self, call: &CallExpr, items: &[&str]) -> Result<(), Problem> {
        let name = call.func_name.as_str();
        if !FUNCTIONS.contains(&name) {
            return Err(no_function(name));
        }
        if [op::EQUALS, op::NOT_EQUALS, op::IN].contains(&name)
            && let Some(other) = compared_with_type(&call.args)
        {
            never_a_type(other)?;
        }
        for part in call.target.as_deref().into_iter().chain(&call.args) {
            self.walk(part, items)?;
        }
        Ok(())
    }

    fn comprehension(
        &mut self,
        comprehension: &ComprehensionExpr,
        items: &[&str],
    ) -> Result<(), Problem> {
        let name = comprehension.iter_var.as_str();
        let step = &comprehension.loop_step.expr;
        let folds = |call: &CallExpr| [op::LOGICAL_AND, op::LOGICAL_OR].contains(&&*call.func_name);
        if !matches!(step, Expr::Call(call) if folds(call)) {
            return Err(no_function("map, filter or exists_one"));
        }
        if name == ROOT || items.contains(&name) {
            return Err(Problem {
                problem: format!("calls the item of a loop {name}, which is taken"),
                fix: "give it another name".into(),
            });
        }
        self.walk(&comprehension.iter_range, items)?;
        let mut within = items.to_vec();
        within.push(name);
        self.walk(&comprehension.loop_step, &within)
    }
}

/// What `event.type` is compared with, if these are the two sides of such a comparison.
fn compared_with_type(sides: &[IdedExpr]) -> Option<&IdedExpr> {
    let [left, right] = sides else {
        return None;
    };
    let is_type = |side: &IdedExpr| {
        matches!(&side.expr, Expr::Select(select) if select.field == "type"
            && matches!(&select.operand.expr, Expr::Ident(name) if name == ROOT))
    };
    if is_type(left) {
        Some(right)
    } else if is_type(right) {
        Some(left)
    } else {
        None
    }
}

/// Refuses a comparison of `event.type` with a text that no type can be.
fn never_a_type(other: &IdedExpr) -> Result<(), Problem> {
    if let Expr::List(list) = &other.expr {
        return list.elements.iter().try_for_each(never_a_type);
    }
    let Expr::Literal(LiteralValue::String(text)) = &other.expr else {
        return Ok(());
    };
    if text.inner().starts_with(KIND_PREFIX) {
        return Ok(());
    }
    Err(Problem {
        problem: format!("compares event.type with {:?}, which no event has", text.inner()),
        fix: format!(
            "a type is {KIND_PREFIX} and the topic without its ids; for the events of queues: filter = '{QUEUE_EVENTS}'"
        ),
    })
}

/// The filter that takes the events of queues, of whatever kind.
const QUEUE_EVENTS: &str = "event.type.contains(\".queues.\")";

fn known() -> String {
    ATTRIBUTES.map(|name| format!("{ROOT}.{name}")).join(", ")
}

fn unknown(name: &str) -> Problem {
    let bare = name.rsplit('.').next().unwrap_or(name);
    let later = LATER.iter().find(|(later, _)| name == format!("{ROOT}.{later}"));
    if let Some((_, why)) = later {
        return Problem {
            problem: format!("names {name}, which {why}"),
            fix: format!("name one of {}", known()),
        };
    }
    let likeness = |known: &str| {
        let whole = strsim::normalized_damerau_levenshtein(name, &format!("{ROOT}.{known}"));
        whole.max(strsim::normalized_damerau_levenshtein(bare, known))
    };
    let nearest = ATTRIBUTES.into_iter().map(|known| (likeness(known), known));
    let nearest = nearest.reduce(|best, new| if new.0 > best.0 { new } else { best });
    Problem {
        problem: format!("names {name}, which an event does not have"),
        fix: match nearest {
            Some((likeness, nearest)) if likeness >= LIKENESS_MIN => {
                format!("did you mean {ROOT}.{nearest}?")
            }
            _ => format!("name one of {}; what Genesys pushed is in event.data", known()),
        },
    }
}

fn no_function(name: &str) -> Problem {
    let shown = match name {
        op::ADD => "+",
        other => other,
    };
    let named = FUNCTIONS.iter().filter(|name| name.chars().all(char::is_alphabetic));
    Problem {
        problem: format!("uses {shown}, which a filter does not have"),
        fix: format!(
            "what there is: comparisons, && || ! ?: in - * / %, has, all, exists, {}",
            named.copied().collect::<Vec<_>>().join(", ")
        ),
    }
}
