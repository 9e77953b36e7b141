//! What stands between brackets, and the digits around them: `1-4,7`, `001-100/2`.

use std::ops::Range;

use super::error::ErrorKind;
use super::number::{DIGITS_MAX, Number};
use super::ranges::Ranges;

/// A mistake, and at which byte it is.
pub(super) type Mistake = (usize, ErrorKind);

/// The numbers of a list of ranges: at most `max`. `at`: where the list stands.
pub(super) fn read(list: &str, at: usize, max: usize) -> Result<Ranges, Mistake> {
    let (mut spans, mut count, mut at) = (vec![], 0_u64, at);
    for item in list.split(',') {
        let place = at + item.len() - item.trim_start().len();
        read_item(item.trim(), place, max, &mut spans, &mut count)?;
        at += item.len() + 1;
    }
    Ok(Ranges::collect(spans))
}

fn read_item(item: &str, at: usize, max: usize, spans: &mut Vec<Range<u64>>, count: &mut u64) -> Result<(), Mistake> {
    let wrong = |kind| Err((at, kind));
    if item.is_empty() {
        return wrong(ErrorKind::NoNumber);
    }
    let (range, step) =
        item.split_once('/').map_or((item, None), |(range, step)| (range.trim_end(), Some(step.trim())));
    let (first, last) = range.split_once('-').map_or((range, range), |(first, last)| (first.trim_end(), last.trim()));
    let (from, to) = (digits(first, at)?, digits(last, at + range.len() - last.len())?);
    let step = match step {
        None => 1,
        Some(step) => match step.parse::<u64>() {
            Ok(step) if step > 0 && range.contains('-') && step.to_string().len() <= DIGITS_MAX => step,
            _ => return wrong(ErrorKind::Step),
        },
    };
    let padded = Number::is_padded(from) || Number::is_padded(to);
    if padded && first.len() != last.len() {
        let width = first.len().max(last.len());
        return wrong(ErrorKind::Padding(format!("{:0width$}-{:0width$}", from.value(), to.value())));
    }
    let (from, to, width) = (from.value(), to.value(), if padded { first.len() } else { 1 });
    if from > to {
        return wrong(ErrorKind::CountsDown { first: first.into(), last: last.into() });
    }
    *count = count.saturating_add((to - from) / step + 1);
    if *count > max as u64 {
        return wrong(ErrorKind::TooMany(max));
    }
    // Both ends were numbers, and so is what lies between.
    let number = |value| Number::new(value, width).unwrap_or(Number(0));
    let mut value = from;
    while value <= to {
        let start = number(value);
        let end = if step == 1 { number(to).0.min(start.widest().0) } else { start.0 };
        spans.push(start.0..end + 1);
        value = if step == 1 { Number(end).value() + 1 } else { value + step };
    }
    Ok(())
}

fn digits(text: &str, at: usize) -> Result<Number, Mistake> {
    let all = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match Number::read(text) {
        Some(number) => Ok(number),
        None if all => Err((at, ErrorKind::TooLong)),
        None if text.is_empty() => Err((at, ErrorKind::NoNumber)),
        None => Err((at, ErrorKind::NotANumber(text.chars().take(20).collect()))),
    }
}

/// The numbers with these digits before and behind each: `n1[2-3]4` has 124 and 134.
pub(super) fn widen(before: &str, ranges: &Ranges, behind: &str) -> Option<Ranges> {
    if before.is_empty() && behind.is_empty() {
        return Some(ranges.clone());
    }
    let read = |digits: &str| if digits.is_empty() { Some(0) } else { Number::read(digits).map(Number::value) };
    let (high, low) = (read(before)?, read(behind)?);
    let shift = 10_u64.checked_pow(u32::try_from(behind.len()).ok()?)?;
    let mut spans = vec![];
    for (first, last) in ranges.runs() {
        let width = before.len() + first.width() + behind.len();
        if width > DIGITS_MAX {
            return None;
        }
        // The sum has `width` digits, which fit.
        let base = high * 10_u64.pow((first.width() + behind.len()) as u32) + low;
        let number = |value: u64| Number::new(base + value * shift, width);
        if behind.is_empty() {
            spans.push(number(first.value())?.0..number(last.value())?.0 + 1);
            continue;
        }
        for value in first.value()..=last.value() {
            let number = number(value)?.0;
            spans.push(number..number + 1);
        }
    }
    Some(Ranges::collect(spans))
}
