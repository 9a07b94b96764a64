//! Alarms: when a trigger fires by itself. They are what the feeds of the package `/whisk.system/alarms` make, with the parameters
//! of OpenWhisk's package of that name.
//!
//! An alarm belongs to its trigger and is kept with it. What it needs to know of the past is one time: up to [`from`](Alarm) all
//! is dealt with. The first time of its schedule after that is when it is [due](Alarm::due_ms), however late that is noticed:
//! where a machine was off, asleep or too busy, everything that was missed is one firing, or none if the alarm is to skip it.
//!
//! What must hold: [`Alarm::read`] of [`Alarm::to_kept`] is the same alarm, and when an alarm is due follows from nothing
//! but its own members, so that it is the same after a restart.

mod cron;
mod moment;

use crate::json::{Json, Kind, Members, Object};
use crate::name::FullName;
use alloc::{format, string::String, string::ToString};
use core::hash::{BuildHasher, BuildHasherDefault};
use cron::Cron;
use jiff::tz::TimeZone;

/// A feed: an action that sets alarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    /// At the times of a cron pattern.
    Cron,
    /// Every so many minutes.
    Interval,
    /// Once.
    Once,
}

impl Feed {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cron, Self::Interval, Self::Once];

    /// The action's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cron => "alarm",
            Self::Interval => "interval",
            Self::Once => "once",
        }
    }

    /// What it does, for people.
    pub fn description(self) -> &'static str {
        match self {
            Self::Cron => "Fire trigger when alarm occurs",
            Self::Interval => "Fire trigger at specified interval",
            Self::Once => "Fire trigger once when alarm occurs",
        }
    }

    /// Its parameters, the required one first.
    pub fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Cron => &["cron", TIMEZONE, START, STOP, STRICT, MOST, MISSED],
            Self::Interval => &["minutes", START, STOP, MISSED],
            Self::Once => &["date", DELETE, MISSED],
        }
    }

    fn of(config: &Object) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|feed| config.contains(feed.parameters()[0]))
    }
}

const TIMEZONE: &str = "timezone";
const START: &str = "startDate";
const STOP: &str = "stopDate";
const STRICT: &str = "strict";
const MOST: &str = "maxTriggers";
const MISSED: &str = "missed";
const DELETE: &str = "deleteAfterFire";
const PAYLOAD: &str = "trigger_payload";

/// When the first firing of an interval without a `startDate` is.
const AT_ONCE_MS: u64 = 30_000;
/// Later than that, a firing is a missed one.
const LATE_MS: u64 = 60_000;

/// What goes when an alarm that fires once has fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteAfterFire {
    /// Nothing.
    Nothing,
    /// The trigger.
    Trigger,
    /// The trigger and its rules.
    Rules,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Schedule {
    Cron {
        cron: Cron,
        /// By its name: the rules of one take a thousand times the memory.
        zone: String,
        /// After each time of the pattern.
        delay_ms: u64,
    },
    Interval {
        first_ms: u64,
        period_ms: u64,
    },
    Once {
        at_ms: u64,
        delete: DeleteAfterFire,
    },
}

/// When a trigger fires by itself, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// The feed's parameters as they were given, those that have been checked.
    config: Object,
    /// An object: what it fires with.
    payload: Json,
    schedule: Schedule,
    start_ms: Option<u64>,
    stop_ms: Option<u64>,
    /// How many times it fires at most.
    most: Option<u64>,
    /// What was missed is left out.
    skips: bool,
    /// All up to this time is dealt with.
    from_ms: u64,
    /// How many times it has fired.
    fired: u64,
    /// When it was made, changed, or came to its end.
    changed_ms: u64,
    /// When it fires next.
    due_ms: Option<u64>,
}

type Checked<T> = Result<T, String>;

fn flag(config: &Object, name: &str) -> Option<bool> {
    let value = config.get(name)?;
    let text = value.to_text().map(|text| text == "true");
    value.to_bool().or(text)
}

/// A date among parameters.
fn date(config: &Object, name: &str) -> Checked<Option<u64>> {
    let given = config.get(name).filter(|date| date.is_truthy());
    given
        .map(|date| {
            let shown = date.to_text().unwrap_or_else(|| date.as_str().into());
            let ms = moment::milliseconds(date);
            ms.ok_or_else(|| format!("{name} parameter '{shown}' is not a valid Date"))
        })
        .transpose()
}

/// A date that is still to come.
fn future_date(config: &Object, name: &str, now_ms: u64) -> Checked<Option<u64>> {
    match date(config, name)? {
        Some(ms) if ms <= now_ms => {
            let shown = shown(config, name);
            Err(format!("{name} parameter '{shown}' must be in the future"))
        }
        date => Ok(date),
    }
}

fn shown(config: &Object, name: &str) -> String {
    let value = config.get(name);
    value.map_or_else(String::new, |value| {
        value.to_text().unwrap_or_else(|| value.as_str().into())
    })
}

fn integer(value: &Json) -> Option<i64> {
    let text = value.to_text();
    text.map_or_else(|| value.to_integer(), |text| text.trim().parse().ok())
}

/// What an alarm fires with: an object as it is, a text as its member `payload`.
fn payload(parameters: &Object) -> Checked<Json> {
    let empty = || Json::parse("{}");
    match parameters.get(PAYLOAD) {
        None => empty(),
        Some(given) => match given.kind() {
            Kind::Object => Ok(given.clone()),
            _ if !given.is_truthy() => empty(),
            Kind::Text => Ok(Members::new().raw("payload", given.as_str()).finish()),
            _ => Err("trigger_payload parameter must be an object or a string".into()),
        },
    }
}

impl Schedule {
    fn of(feed: Feed, config: &Object, trigger: &FullName) -> Checked<Self> {
        let [required, ..] = feed.parameters() else {
            return Err("there is no such feed".into());
        };
        let value = config.get(required).filter(|value| value.is_truthy());
        let missing = match feed {
            Feed::Cron => "alarms",
            Feed::Interval => "interval",
            Feed::Once => "alarms once",
        };
        let value = value
            .ok_or_else(|| format!("{missing} trigger feed is missing the {required} parameter"))?;
        Ok(match feed {
            Feed::Cron => {
                let pattern = value.to_text().unwrap_or_default();
                let cron = Cron::parse(&pattern);
                let shown = shown(config, required);
                let cron = cron.ok_or_else(|| format!("cron pattern '{shown}' is not valid"))?;
                let zone = match config.get(TIMEZONE).filter(|zone| zone.is_truthy()) {
                    Some(zone) => zone.to_text().unwrap_or_else(|| zone.as_str().into()),
                    None => "UTC".into(),
                };
                if TimeZone::get(&zone).is_err() {
                    return Err(format!("timezone '{zone}' is not valid"));
                }
                let spread = flag(config, STRICT) == Some(false) && !cron.has_seconds();
                let delay_ms = if spread { spread_ms(trigger) } else { 0 };
                Self::Cron {
                    cron,
                    zone,
                    delay_ms,
                }
            }
            Feed::Interval => {
                let minutes = integer(value).ok_or("the minutes parameter must be an integer")?;
                let minutes = u64::try_from(minutes)
                    .ok()
                    .filter(|m| (1..=1 << 32).contains(m));
                Self::Interval {
                    first_ms: date(config, START)?.ok_or("startDate is missing")?,
                    period_ms: 60_000
                        * minutes
                            .ok_or("the minutes parameter must be an integer greater than zero")?,
                }
            }
            Feed::Once => Self::Once {
                at_ms: date(config, required)?.unwrap_or_default(),
                delete: match shown(config, DELETE).trim().to_ascii_lowercase().as_str() {
                    "" | "false" => DeleteAfterFire::Nothing,
                    "true" => DeleteAfterFire::Trigger,
                    "rules" => DeleteAfterFire::Rules,
                    _ => {
                        return Err(
                            "deleteAfterFire parameter must be one of [false, true, rules].".into(),
                        );
                    }
                },
            },
        })
    }

    /// The first time after that one.
    fn after(&self, from_ms: u64) -> Option<u64> {
        match self {
            Self::Cron {
                cron,
                zone,
                delay_ms,
            } => {
                let zone = TimeZone::get(zone).ok()?;
                let from = i64::try_from(from_ms.saturating_sub(*delay_ms)).ok()?;
                let next = u64::try_from(cron.after(from, &zone)?).ok()?;
                Some(next + delay_ms)
            }
            Self::Interval {
                first_ms,
                period_ms,
            } => Some(match from_ms.checked_sub(*first_ms) {
                None => *first_ms,
                Some(since) => first_ms + (since / period_ms + 1) * period_ms,
            }),
            Self::Once { at_ms, .. } => (*at_ms > from_ms).then_some(*at_ms),
        }
    }
}

/// Seconds of a minute that are a trigger's own.
fn spread_ms(trigger: &FullName) -> u64 {
    let hasher = BuildHasherDefault::<Fnv>::default();
    hasher.hash_one(trigger.to_string()) % 60 * 1000
}

/// FNV-1a: a hash that is the same in each release, because what it spreads has to be.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl core::hash::Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Alarm {
    /// The alarm that a feed makes of a call's parameters.
    ///
    /// # Errors
    /// What is wrong with them, in the words of OpenWhisk's package.
    pub fn create(feed: Feed, given: &Object, trigger: &FullName, now_ms: u64) -> Checked<Self> {
        let mut config = Object::new();
        for &name in feed.parameters() {
            if let Some(value) = given.get(name).filter(|value| value.kind() != Kind::Null) {
                config.set(name, value.clone());
            }
        }
        let has = |name| given.get(name).is_some_and(Json::is_truthy);
        if feed == Feed::Interval && !has(START) {
            let first = now_ms + AT_ONCE_MS;
            config.set(
                START,
                Json::number(i64::try_from(first).unwrap_or(i64::MAX)),
            );
        }
        if has(MOST) && has(STOP) && feed != Feed::Once {
            return Err(match feed {
                Feed::Interval => "maxTriggers is not supported for the interval trigger feed",
                _ => "maxTriggers is not allowed when the stopDate parameter is specified",
            }
            .into());
        }
        Self::checked(feed, config, payload(given)?, trigger, now_ms)
    }

    /// The alarm that its feed makes of it with other parameters.
    ///
    /// # Errors
    /// As [`Alarm::create`].
    pub fn update(&self, given: &Object, trigger: &FullName, now_ms: u64) -> Checked<Self> {
        let feed = self.feed();
        let mut config = self.config.clone();
        let mut changes = given.get(PAYLOAD).is_some_and(Json::is_truthy);
        let payload = if changes {
            payload(given)?
        } else {
            self.payload.clone()
        };
        for &name in feed.parameters() {
            if let Some(value) = given
                .get(name)
                .filter(|value| value.is_truthy() || name == STRICT)
            {
                config.set(name, value.clone());
                changes = true;
            }
        }
        if !changes {
            return Err("no updatable parameters were specified".into());
        }
        // What is not given was checked when it was, and may be over by now.
        for name in [START, STOP, feed.parameters()[0]] {
            if given.contains(name) && (name != "cron" && name != "minutes") {
                future_date(&config, name, now_ms)?;
            }
        }
        let alarm = Self::of(feed, config, payload, trigger, [now_ms, 0, now_ms])?;
        alarm.check_order()?;
        Ok(alarm)
    }

    fn checked(
        feed: Feed,
        config: Object,
        payload: Json,
        trigger: &FullName,
        now_ms: u64,
    ) -> Checked<Self> {
        for name in ["date", START, STOP] {
            future_date(&config, name, now_ms)?;
        }
        let alarm = Self::of(feed, config, payload, trigger, [now_ms, 0, now_ms])?;
        alarm.check_order()?;
        if alarm.due_ms.is_none() {
            return Err("the first scheduled trigger fire is not until after the stop date".into());
        }
        Ok(alarm)
    }

    fn check_order(&self) -> Checked<()> {
        match (self.start_ms, self.stop_ms) {
            (Some(start), Some(stop)) if stop <= start => {
                let (stop, start) = (shown(&self.config, STOP), shown(&self.config, START));
                Err(format!(
                    "stopDate parameter '{stop}' must be greater than the startDate parameter '{start}'"
                ))
            }
            _ => Ok(()),
        }
    }

    /// `times`: up to when all is dealt with, how many times it has fired, when it was changed.
    fn of(
        feed: Feed,
        config: Object,
        payload: Json,
        trigger: &FullName,
        [from_ms, fired, changed_ms]: [u64; 3],
    ) -> Checked<Self> {
        let most = match config
            .get(MOST)
            .filter(|most| most.is_truthy())
            .map(integer)
        {
            None => None,
            Some(Some(most)) => u64::try_from(most).ok(),
            Some(None) => return Err("the maxTriggers parameter must be an integer".into()),
        };
        let skips = match shown(&config, MISSED).as_str() {
            "" | "fire" => false,
            "skip" => true,
            _ => return Err("missed parameter must be one of [fire, skip].".into()),
        };
        let mut alarm = Self {
            schedule: Schedule::of(feed, &config, trigger)?,
            start_ms: date(&config, START)?,
            stop_ms: date(&config, STOP)?,
            most,
            skips,
            config,
            payload,
            from_ms,
            fired,
            changed_ms,
            due_ms: None,
        };
        alarm.due_ms = alarm.next_ms();
        Ok(alarm)
    }

    fn next_ms(&self) -> Option<u64> {
        if self.most.is_some_and(|most| self.fired >= most) {
            return None;
        }
        // The time of the start counts.
        let start = self.start_ms.unwrap_or(0).saturating_sub(1);
        let next = self.schedule.after(self.from_ms.max(start))?;
        self.stop_ms.is_none_or(|stop| next <= stop).then_some(next)
    }

    fn feed(&self) -> Feed {
        match self.schedule {
            Schedule::Cron { .. } => Feed::Cron,
            Schedule::Interval { .. } => Feed::Interval,
            Schedule::Once { .. } => Feed::Once,
        }
    }

    /// When it fires next, in epoch milliseconds; `None` if it does not any more.
    pub fn due_ms(&self) -> Option<u64> {
        self.due_ms
    }

    /// Whether it fires now that it is due.
    pub fn fires(&self, now_ms: u64) -> bool {
        let late_ms = self.due_ms.map(|due| now_ms.saturating_sub(due));
        late_ms.is_some_and(|late| !self.skips || late <= LATE_MS)
    }

    /// What it fires with: an object.
    pub fn payload(&self) -> &Json {
        &self.payload
    }

    /// What goes when it has fired.
    pub fn delete_after_fire(&self) -> DeleteAfterFire {
        match self.schedule {
            Schedule::Once { delete, .. } => delete,
            _ => DeleteAfterFire::Nothing,
        }
    }

    /// The alarm after it has fired, or left out what was missed.
    #[must_use]
    pub fn passed(&self, now_ms: u64) -> Self {
        let mut next = self.clone();
        next.fired += u64::from(self.fires(now_ms));
        // What was due in a second before a clock was set is not due once more.
        next.from_ms = now_ms.max(self.due_ms.unwrap_or(0));
        next.due_ms = next.next_ms();
        if next.due_ms.is_none() {
            next.changed_ms = now_ms;
        }
        next
    }

    /// The alarm on a clock that was set back: what it repeats goes on from there. `None` if nothing changes.
    pub fn set_back(&self, now_ms: u64) -> Option<Self> {
        let repeats = self.feed() != Feed::Once;
        (repeats && self.from_ms > now_ms + LATE_MS).then(|| {
            let mut next = self.clone();
            next.from_ms = now_ms;
            next.due_ms = next.next_ms();
            next
        })
    }

    /// Bytes that it takes in the store, about.
    pub fn size(&self) -> usize {
        512 + self.config.bytes() + self.payload.as_str().len()
    }

    /// What its feed tells of it.
    pub fn to_json(&self, trigger: &FullName) -> Json {
        let mut config = Members::new();
        config
            .text("name", &trigger.name)
            .text("namespace", &trigger.namespace)
            .raw("payload", self.payload.as_str());
        for (name, value) in self.config.iter() {
            config.raw(name, value.as_str());
        }
        let mut status = Members::new();
        status
            .bool("active", self.due_ms.is_some())
            .number("dateChanged", self.changed_ms)
            .text("dateChangedISO", &moment::text(self.changed_ms));
        match self.due_ms {
            Some(due) => {
                status.text("next", &moment::text(due));
            }
            None => {
                let why = match self.feed() {
                    Feed::Once => "Automatically disabled after firing once",
                    _ if self.most.is_some_and(|most| self.fired >= most) => {
                        "Automatically disabled after reaching max triggers"
                    }
                    _ => "Automatically disabled after reaching stop date",
                };
                let reason = Members::new()
                    .text("kind", "AUTO")
                    .text("message", why)
                    .finish();
                status.raw("reason", reason.as_str());
            }
        }
        Members::new()
            .raw("config", config.finish().as_str())
            .raw("status", status.finish().as_str())
            .finish()
    }

    /// What is kept of it.
    pub fn to_kept(&self) -> Json {
        Members::new()
            .raw("config", self.config.to_json().as_str())
            .raw("payload", self.payload.as_str())
            .number("from", self.from_ms)
            .number("fired", self.fired)
            .number("changed", self.changed_ms)
            .finish()
    }

    /// The alarm that was kept.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(kept: &Json, trigger: &FullName) -> Checked<Self> {
        let kept = kept.to_object().ok_or("its alarm is no object")?;
        let number = |name: &str| {
            let number = kept.get(name).and_then(|n| n.as_str().parse().ok());
            number.ok_or_else(|| format!("its alarm has no number `{name}`"))
        };
        let config = kept.get("config").and_then(Json::to_object);
        let config = config.ok_or("its alarm has no `config`")?;
        let payload = kept.get("payload").filter(|p| p.kind() == Kind::Object);
        let payload = payload.ok_or("its alarm has no `payload`")?.clone();
        let feed = Feed::of(&config).ok_or("its alarm is none of a feed's")?;
        let times = [number("from")?, number("fired")?, number("changed")?];
        Self::of(feed, config, payload, trigger, times)
    }
}
