//! Curves of a class as SVG: ROC and precision-recall of images and pixels, and per-region overlap.

use plotters::prelude::*;

use crate::error::{Code, Error, Result};
use crate::evaluation::ClassResult;
use crate::evaluation::evaluated::Curves;

/// Width and height of a panel.
const PANEL: (u32, u32) = (360, 320);

/// Points of a kind of curve, for each run.
type Lines<'a> = (&'static str, RGBColor, Vec<&'a [[f64; 2]]>);

/// Panels side by side: ROC, precision-recall, and per-region overlap where there are masks; a line for each draw of reference images.
pub(super) fn svg(class: &ClassResult) -> Result<String> {
    let mut text = String::new();
    draw(class, &mut text).map_err(|error| Error::new(Code::Io, format!("cannot draw the curves of `{}`: {error}", class.name)))?;
    Ok(text)
}

type Drawn = std::result::Result<(), DrawingAreaErrorKind<<SVGBackend<'static> as DrawingBackend>::ErrorType>>;

fn draw(class: &ClassResult, text: &mut String) -> Drawn {
    let image = |of: fn(&Curves) -> &Vec<[f64; 2]>| ("images", BLUE, lines(class, of));
    let pixel = |of: fn(&Curves) -> &Vec<[f64; 2]>| ("pixels", RED, lines(class, of));
    let roc = [image(|curves| &curves.image_roc), pixel(|curves| &curves.pixel_roc)];
    let pr = [image(|curves| &curves.image_pr), pixel(|curves| &curves.pixel_pr)];
    let pro = [("regions", RGBColor(20, 120, 60), lines(class, |curves| &curves.pro))];
    // Without masks there is nothing over regions to draw.
    let panels = if pro[0].2.is_empty() { 2 } else { 3 };
    let area = SVGBackend::with_string(text, (panels * PANEL.0, PANEL.1)).into_drawing_area();
    area.fill(&WHITE)?;
    let parts = area.split_evenly((1, panels as usize));
    panel(&parts[0], "ROC", ["false positive rate", "true positive rate"], 1.0, &roc)?;
    panel(&parts[1], "precision and recall", ["recall", "precision"], 1.0, &pr)?;
    if let Some(part) = parts.get(2) {
        panel(part, "per-region overlap (PRO)", ["false positive rate", "mean overlap"], 0.3, &pro)?;
    }
    area.present()
}

/// The points of one kind of curve in each run of a class.
fn lines(class: &ClassResult, of: fn(&Curves) -> &Vec<[f64; 2]>) -> Vec<&[[f64; 2]]> {
    class
        .runs
        .iter()
        .map(|run| of(&run.curves).as_slice())
        .filter(|points| !points.is_empty())
        .collect()
}

/// A panel whose x axis ends at `right`.
fn panel<B: DrawingBackend>(
    area: &DrawingArea<B, plotters::coord::Shift>,
    title: &str,
    axes: [&str; 2],
    right: f64,
    kinds: &[Lines<'_>],
) -> std::result::Result<(), DrawingAreaErrorKind<B::ErrorType>> {
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(36)
        .y_label_area_size(44)
        .build_cartesian_2d(0.0..right, 0.0..1.0)?;
    chart
        .configure_mesh()
        .x_desc(axes[0])
        .y_desc(axes[1])
        .x_labels(6)
        .y_labels(6)
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (name, color, lines) in kinds.iter().filter(|(_, _, lines)| !lines.is_empty()) {
        for (at, points) in lines.iter().enumerate() {
            let inside = points.iter().map(|&[x, y]| (x, y)).take_while(|&(x, _)| x <= right);
            let series = chart.draw_series(LineSeries::new(inside, color.stroke_width(2)))?;
            if at == 0 {
                let color = *color;
                series.label(*name).legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color));
            }
        }
    }
    let corner = if title == "ROC" { SeriesLabelPosition::LowerRight } else { SeriesLabelPosition::LowerLeft };
    chart
        .configure_series_labels()
        .position(corner)
        .border_style(BLACK.mix(0.2))
        .background_style(WHITE.mix(0.8))
        .draw()
}
