//! Results as plots.
//!
//! The SVG names `sans-serif` and leaves the font to whoever shows it, so no font library is linked; widths of text are
//! estimates, and margins leave room for that. Both axes of the latencies are transformed here, because the marks that
//! matter (whole decades, and 90, 99, 99.9 %) are not those that a linear scale would choose.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::Measurement;
use super::numbers::{chosen, count, plural, prefixed, quantity};

const SIZE: (u32, u32) = (900, 520);
const PAPER: RGBColor = RGBColor(255, 255, 255);
const INK: RGBColor = RGBColor(31, 35, 40);
const FAINT_INK: RGBColor = RGBColor(101, 109, 118);
const GRID: RGBColor = RGBColor(222, 226, 230);
const FINE_GRID: RGBColor = RGBColor(243, 245, 247);
const DELIVERIES: RGBColor = RGBColor(9, 105, 218);
const WRITES: RGBColor = RGBColor(188, 76, 0);

/// Latencies below a microsecond are drawn there: nothing that crosses a socket is faster.
const MS_MIN: f64 = 1e-3;
/// The deepest mark of the percentiles is 1 - 10^-8: a run of minutes has billions of deliveries, seldom more.
const NINES_MAX: f64 = 8.0;

/// Why there is no plot.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// The case does not measure it.
    #[error("the case {case} has no {what} to plot")]
    Empty {
        /// Name of the case.
        case: String,
        /// What would be plotted.
        what: &'static str,
    },
    /// The plotting library refuses.
    #[error("the plot could not be drawn: {0}")]
    Drawing(String),
}

impl<E: std::error::Error + Send + Sync> From<DrawingAreaErrorKind<E>> for PlotError {
    fn from(why: DrawingAreaErrorKind<E>) -> Self {
        Self::Drawing(why.to_string())
    }
}

/// The distribution of latencies: milliseconds on a log scale, percentiles on a scale of nines.
///
/// # Errors
/// [`PlotError::Empty`] when there are fewer than two points.
pub fn svg_latency(result: &Measurement) -> Result<String, PlotError> {
    if result.latency_cdf.len() < 2 {
        return Err(empty(result, "latency distribution"));
    }
    draw(|area| {
        let area = titled(area, "Latency, push to receive", result)?;
        latency_chart(&area, &result.latency_cdf)
    })
}

/// Deliveries, and writes where they are known, per second over the measured part of the run.
///
/// # Errors
/// [`PlotError::Empty`] when there are fewer than two samples.
pub fn svg_throughput(result: &Measurement) -> Result<String, PlotError> {
    if result.throughput.len() < 2 {
        return Err(empty(result, "throughput over time"));
    }
    let deliveries: Vec<_> = result
        .throughput
        .iter()
        .map(|sample| (sample.at_s, sample.deliveries_per_s))
        .collect();
    let writes: Vec<_> = result
        .throughput
        .iter()
        .filter_map(|sample| Some((sample.at_s, sample.writes_per_s?)))
        .collect();
    draw(|area| {
        let area = titled(area, "Throughput", result)?;
        if writes.len() < 2 {
            return rate_chart(
                &area,
                "deliveries per second",
                DELIVERIES,
                &deliveries,
                true,
            );
        }
        // Coalescing puts orders of magnitude between the two, so each has a scale of its own over one time.
        let (upper, lower) = area.split_vertically(220);
        rate_chart(
            &upper,
            "deliveries per second",
            DELIVERIES,
            &deliveries,
            false,
        )?;
        rate_chart(&lower, "writes per second", WRITES, &writes, true)
    })
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn empty(result: &Measurement, what: &'static str) -> PlotError {
    PlotError::Empty {
        case: result.case.clone(),
        what,
    }
}

fn draw(with: impl FnOnce(&Area<'_>) -> Result<(), PlotError>) -> Result<String, PlotError> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    area.fill(&PAPER)?;
    with(&area)?;
    area.present()?;
    drop(area);
    Ok(svg)
}

/// Writes the title and what was run, and gives what is left of the area.
fn titled<'a>(area: &Area<'a>, title: &str, result: &Measurement) -> Result<Area<'a>, PlotError> {
    const TITLE_HEIGHT: i32 = 72;
    area.draw_text(
        title,
        &TextStyle::from(("sans-serif", 24).into_font()).color(&INK),
        (24, 18),
    )?;
    area.draw_text(
        &subtitle(result),
        &TextStyle::from(("sans-serif", 15).into_font()).color(&FAINT_INK),
        (24, 48),
    )?;
    Ok(area.split_vertically(TITLE_HEIGHT).1)
}

fn subtitle(result: &Measurement) -> String {
    let parts = [
        result.server.name.clone(),
        Some(result.case.clone()),
        result.dialect.clone(),
        result.connections.map(|n| plural(n, "connection")),
        result.rooms.map(|n| plural(n, "room")),
        result.payload_bytes.map(|n| format!("{} B", count(n))),
        result
            .rate_per_s
            .map(|rate| format!("{}/s offered", chosen(rate))),
    ];
    let said: Vec<String> = parts.into_iter().flatten().collect();
    said.join(" · ")
}

fn latency_chart(area: &Area<'_>, cdf: &[(f64, f64)]) -> Result<(), PlotError> {
    let deepest = cdf
        .iter()
        .filter(|(_, fraction)| *fraction < 1.0)
        .map(|(_, fraction)| nines(*fraction))
        .fold(1.0, f64::max);
    // The maximum has no place on a scale of nines; it is drawn at the top, half a nine above what has one.
    let top = deepest.min(NINES_MAX) + 0.5;
    let points: Vec<(f64, f64)> = cdf
        .iter()
        .map(|(ms, fraction)| (ms.max(MS_MIN).log10(), nines(*fraction).min(top)))
        .collect();
    let left = points.first().map_or(0.0, |point| point.0.floor());
    let right = points
        .last()
        .map_or(1.0, |point| point.0.ceil())
        .max(left + 1.0);

    let mut chart = chart_on(area, true).build_cartesian_2d(
        Scale {
            range: left..right,
            marks: steps(left, right),
            fine_marks: within_decades(left, right),
        },
        Scale {
            range: 0.0..top,
            marks: percentile_marks(top),
            fine_marks: Vec::new(),
        },
    )?;
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(FINE_GRID)
        .axis_style(FAINT_INK)
        .label_style(("sans-serif", 14).into_font().color(&INK))
        .axis_desc_style(("sans-serif", 15).into_font().color(&FAINT_INK))
        .x_desc("milliseconds (log scale)")
        .y_desc("share of deliveries within")
        .x_label_formatter(&|exponent| milliseconds(*exponent))
        .y_label_formatter(&|nines| percentile(*nines, top))
        .draw()?;
    chart.draw_series(LineSeries::new(points, DELIVERIES.stroke_width(2)))?;
    Ok(())
}

fn rate_chart(
    area: &Area<'_>,
    what: &str,
    color: RGBColor,
    points: &[(f64, f64)],
    is_lowest: bool,
) -> Result<(), PlotError> {
    let end = points.last().map_or(1.0, |point| point.0).max(1.0);
    let highest = points.iter().map(|point| point.1).fold(0.0, f64::max);
    let top = (highest * 1.08).max(1.0);

    let mut chart = chart_on(area, is_lowest).build_cartesian_2d(0.0..end, 0.0..top)?;
    let mut mesh = chart.configure_mesh();
    mesh.bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(FAINT_INK)
        .label_style(("sans-serif", 14).into_font().color(&INK))
        .axis_desc_style(("sans-serif", 15).into_font().color(&FAINT_INK))
        .y_desc(what)
        .x_labels(12)
        .y_labels(6)
        .x_label_formatter(&|seconds| prefixed(*seconds))
        .y_label_formatter(&|rate| prefixed(*rate));
    if is_lowest {
        mesh.x_desc("seconds");
    }
    mesh.draw()?;
    let line = points.iter().copied();
    chart.draw_series(LineSeries::new(line, color.stroke_width(2)))?;
    Ok(())
}

/// A scale with marks of our choice.
struct Scale {
    range: Range<f64>,
    marks: Vec<f64>,
    fine_marks: Vec<f64>,
}

impl Ranged for Scale {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        RangedCoordf64::from(self.range.clone()).map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() {
            return self.fine_marks.clone();
        }
        self.marks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

fn chart_on<'a, 'b>(area: &'a Area<'b>, is_lowest: bool) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut builder = ChartBuilder::on(area);
    builder
        .margin_left(12)
        .margin_right(32)
        .margin_bottom(10)
        .margin_top(6)
        .x_label_area_size(if is_lowest { 50 } else { 26 })
        .y_label_area_size(84);
    builder
}

/// How many nines a fraction has: 0.9 is 1, 0.999 is 3, 1 is infinitely many.
fn nines(fraction: f64) -> f64 {
    -(1.0 - fraction.clamp(0.0, 1.0)).log10()
}

/// The marks of the percentiles: none, half, whole nines, and the top for the maximum.
fn percentile_marks(top: f64) -> Vec<f64> {
    let mut marks = vec![0.0, nines(0.5)];
    marks.extend(steps(1.0, (top - 0.4).floor()));
    marks.push(top);
    marks
}

fn percentile(nines: f64, top: f64) -> String {
    if nines >= top {
        return "max".to_owned();
    }
    let percent = 100.0 * (1.0 - 10_f64.powf(-nines));
    let text = format!("{percent:.6}");
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// The label of a power of ten.
fn milliseconds(exponent: f64) -> String {
    if exponent >= 0.0 {
        return chosen(10_f64.powf(exponent).round());
    }
    quantity(10_f64.powf(exponent))
        .trim_end_matches('0')
        .to_owned()
}

/// Whole numbers from one to another, both included.
fn steps(from: f64, to: f64) -> Vec<f64> {
    std::iter::successors(Some(from), |at| Some(at + 1.0))
        .take_while(|at| *at <= to + 1e-9)
        .collect()
}

/// Logarithms of 2 to 9 in each decade.
fn within_decades(from: f64, to: f64) -> Vec<f64> {
    steps(from, to - 1.0)
        .into_iter()
        .flat_map(|decade| (2..=9).map(move |digit| decade + f64::from(digit).log10()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_where_people_look() {
        let labels: Vec<String> = percentile_marks(4.5)
            .into_iter()
            .map(|mark| percentile(mark, 4.5))
            .collect();
        assert_eq!(
            labels,
            ["0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %", "max"]
        );
        let labels: Vec<String> = steps(-3.0, 3.0).into_iter().map(milliseconds).collect();
        assert_eq!(labels, ["0.001", "0.01", "0.1", "1", "10", "100", "1,000"]);
    }

    #[test]
    fn fractions_out_of_range_do_not_escape() {
        assert_eq!(nines(-0.5), 0.0);
        assert_eq!(nines(2.0), f64::INFINITY);
        assert_eq!(within_decades(0.0, 1.0).len(), 8);
        assert_eq!(within_decades(0.0, 0.0).len(), 0);
    }
}
