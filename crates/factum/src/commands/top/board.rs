//! What stands on the board of `factum top`, and what a key changes about it. Nothing here draws or
//! asks anybody.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;

/// What the server says of an instance. Further members are ignored.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Instance {
    pub(crate) instance_id: String,
    pub(crate) status: String,
    pub(crate) context_percent: f64,
    pub(crate) current_epic: Option<String>,
    pub(crate) age_seconds: u64,
    pub(crate) event_count: u64,
    pub(crate) last_event_type: String,
    pub(crate) last_event_at: String,
    pub(crate) last_checkpoint_id: Option<String>,
}

/// The instances of one answer.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Instances {
    pub(crate) instances: Vec<Instance>,
    pub(crate) total_count: u64,
    pub(crate) active_count: u64,
    pub(crate) stale_count: u64,
    pub(crate) not_listed_count: u64,
}

/// An event in the pane beside an instance.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Event {
    pub(crate) sequence_num: u64,
    pub(crate) timestamp: String,
    pub(crate) event_type: String,
    pub(crate) event_data: serde_json::Value,
}

/// By what the rows are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    LastEvent,
    Status,
    Context,
    Heartbeat,
    Rate,
    Events,
    Name,
}

impl Sort {
    const ALL: [Self; 7] = [
        Self::LastEvent,
        Self::Status,
        Self::Context,
        Self::Heartbeat,
        Self::Rate,
        Self::Events,
        Self::Name,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::LastEvent => "last event",
            Self::Status => "status",
            Self::Context => "context",
            Self::Heartbeat => "heartbeat",
            Self::Rate => "events/s",
            Self::Events => "events",
            Self::Name => "instance",
        }
    }

    fn next(self) -> Self {
        let at = Self::ALL.iter().position(|sort| *sort == self);
        Self::ALL[at.map_or(0, |at| (at + 1) % Self::ALL.len())]
    }
}

/// A key that means something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Escape,
    Backspace,
    Interrupt,
    Char(char),
}

/// What has to be done after a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// Draw again.
    Draw,
    /// Ask for the events of the chosen instance.
    Ask,
    /// End.
    Quit,
}

/// The board.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) server: String,
    pub(crate) colours: bool,
    pub(crate) list: Instances,
    /// Events a second of each instance since the answer before, where there was one.
    rates: HashMap<String, f64>,
    pub(crate) rate: Option<f64>,
    pub(crate) sort: Sort,
    pub(crate) reversed: bool,
    pub(crate) filter: String,
    pub(crate) typing: bool,
    pub(crate) active_only: bool,
    chosen: Option<String>,
    /// The instance whose events are shown, with them, the newest first.
    pub(crate) detail: Option<(String, Vec<Event>)>,
    /// Why the last question was not answered.
    pub(crate) trouble: Option<String>,
}

const PAGE_ROWS: usize = 10;
const FILTER_CHARS_MAX: usize = 60;

impl Board {
    pub(crate) fn new(server: String, colours: bool) -> Self {
        Self {
            server,
            colours,
            list: Instances::default(),
            rates: HashMap::new(),
            rate: None,
            sort: Sort::LastEvent,
            reversed: false,
            filter: String::new(),
            typing: false,
            active_only: false,
            chosen: None,
            detail: None,
            trouble: None,
        }
    }

    /// Takes an answer that came so long after the one before; `None` for the first.
    pub(crate) fn update(&mut self, list: Instances, since: Option<Duration>) {
        self.rates.clear();
        self.rate = None;
        if let Some(seconds) = since.map(|since| since.as_secs_f64()).filter(|s| *s > 0.0) {
            let before: HashMap<&str, u64> = self
                .list
                .instances
                .iter()
                .map(|one| (one.instance_id.as_str(), one.event_count))
                .collect();
            let mut total = 0.0;
            for one in &list.instances {
                // One that is new here had all its events meanwhile, or was seen again.
                let known = before.get(one.instance_id.as_str()).copied();
                let new = one
                    .event_count
                    .saturating_sub(known.unwrap_or(one.event_count));
                let rate = f64::from(u32::try_from(new).unwrap_or(u32::MAX)) / seconds;
                total += rate;
                self.rates.insert(one.instance_id.clone(), rate);
            }
            self.rate = Some(total);
        }
        self.list = list;
        self.trouble = None;
    }

    pub(crate) fn rate_of(&self, instance: &Instance) -> Option<f64> {
        self.rates.get(&instance.instance_id).copied()
    }

    /// Returns the instances that are shown, in order.
    pub(crate) fn rows(&self) -> Vec<&Instance> {
        let wanted = self.filter.to_lowercase();
        let fits = |one: &&Instance| {
            let texts = [
                one.instance_id.as_str(),
                one.status.as_str(),
                one.current_epic.as_deref().unwrap_or_default(),
                one.last_event_type.as_str(),
            ];
            let found = texts
                .iter()
                .any(|text| text.to_lowercase().contains(&wanted));
            found && (!self.active_only || one.status == "active")
        };
        let mut rows: Vec<&Instance> = self.list.instances.iter().filter(fits).collect();
        let rate = |one: &Instance| self.rate_of(one).unwrap_or(0.0);
        rows.sort_by(|a, b| {
            let order = match self.sort {
                Sort::LastEvent => b.last_event_at.cmp(&a.last_event_at),
                Sort::Status => rank(&a.status).cmp(&rank(&b.status)),
                Sort::Context => b.context_percent.total_cmp(&a.context_percent),
                Sort::Heartbeat => b.age_seconds.cmp(&a.age_seconds),
                Sort::Rate => rate(b).total_cmp(&rate(a)),
                Sort::Events => b.event_count.cmp(&a.event_count),
                Sort::Name => a.instance_id.cmp(&b.instance_id),
            };
            let order = if self.reversed {
                order.reverse()
            } else {
                order
            };
            order.then_with(|| a.instance_id.cmp(&b.instance_id))
        });
        rows
    }

    /// Returns which row is chosen.
    pub(crate) fn chosen_row(&self, rows: &[&Instance]) -> Option<usize> {
        let chosen = self.chosen.as_ref()?;
        rows.iter().position(|one| one.instance_id == *chosen)
    }

    #[cfg(test)]
    pub(crate) fn chosen(&self) -> Option<&str> {
        self.chosen.as_deref()
    }

    /// Takes the events of an instance; those of one that is no longer looked at are passed over.
    pub(crate) fn take_events(&mut self, id: &str, events: Vec<Event>) {
        if let Some((shown, held)) = &mut self.detail
            && shown == id
        {
            *held = events;
        }
    }

    /// Does what a key says.
    pub(crate) fn press(&mut self, key: Key) -> Act {
        match key {
            Key::Interrupt => return Act::Quit,
            _ if self.typing => self.type_key(key),
            Key::Char('q') => return Act::Quit,
            Key::Escape => return self.escape(),
            Key::Up | Key::Char('k') => return self.step(-1),
            Key::Down | Key::Char('j') => return self.step(1),
            Key::PageUp => return self.step(-as_step(PAGE_ROWS)),
            Key::PageDown => return self.step(as_step(PAGE_ROWS)),
            Key::Home | Key::Char('g') => return self.step(isize::MIN),
            Key::End | Key::Char('G') => return self.step(isize::MAX),
            Key::Enter => return self.open(),
            Key::Char('s') => self.sort = self.sort.next(),
            Key::Char('r') => self.reversed = !self.reversed,
            Key::Char('a') => self.active_only = !self.active_only,
            Key::Char('/') => self.typing = true,
            Key::Backspace | Key::Char(_) => {}
        }
        Act::Draw
    }

    fn type_key(&mut self, key: Key) {
        match key {
            Key::Char(character) if self.filter.chars().count() < FILTER_CHARS_MAX => {
                self.filter.push(character);
            }
            Key::Backspace => drop(self.filter.pop()),
            Key::Enter => self.typing = false,
            Key::Escape => {
                self.typing = false;
                self.filter.clear();
            }
            Key::Up | Key::Down | Key::PageUp | Key::PageDown | Key::Home | Key::End => {}
            Key::Interrupt | Key::Char(_) => {}
        }
    }

    /// Closes what is open; ends where nothing is.
    fn escape(&mut self) -> Act {
        if self.detail.take().is_none() && self.filter.is_empty() {
            return Act::Quit;
        }
        if self.detail.is_none() {
            self.filter.clear();
        }
        Act::Draw
    }

    fn step(&mut self, by: isize) -> Act {
        let rows = self.rows();
        let Some(last) = rows.len().checked_sub(1) else {
            return Act::Draw;
        };
        let next = match self.chosen_row(&rows) {
            Some(row) => row.saturating_add_signed(by).min(last),
            None if by == isize::MAX => last,
            None => 0,
        };
        let id = rows[next].instance_id.clone();
        self.chosen = Some(id.clone());
        if let Some((shown, events)) = &mut self.detail
            && *shown != id
        {
            *shown = id;
            events.clear();
            return Act::Ask;
        }
        Act::Draw
    }

    fn open(&mut self) -> Act {
        if self.detail.take().is_some() {
            return Act::Draw;
        }
        let rows = self.rows();
        let row = self.chosen_row(&rows).unwrap_or(0);
        let Some(id) = rows.get(row).map(|one| one.instance_id.clone()) else {
            return Act::Draw;
        };
        self.chosen = Some(id.clone());
        self.detail = Some((id, Vec::new()));
        Act::Ask
    }
}

fn as_step(rows: usize) -> isize {
    isize::try_from(rows).unwrap_or(isize::MAX)
}

fn rank(status: &str) -> u8 {
    match status {
        "active" => 0,
        "stale" => 1,
        _ => 2,
    }
}
