//! Tensors and the operations of models. All shape rules are here; a mistake panics at the model's line with both shapes.

use std::fmt;
use std::ops::{Add, Mul, Sub};

use crate::graph::{Constant, Graph, GridKeyRanges, Ranges, ValueId};
use crate::kernels::{
    Activation, Attention, Binary, BinaryOp, Cast, CastDirection, ChannelsLast, Concat, Conv2d, DeformableAttention, Gather, Grid,
    GroupNorm, HeadLayout, Interpolation, Kernel, LayerNorm, Logit, MAX_LEVELS, MaskGeometry, Matmul, NormalizeRows, Pairing, Permute,
    Pool, PoolKind, RegionMask, Resize, Selection, SinePositions, Softmax, TopMean, TopRows, Unary, WindowAttention, WindowGeometry,
};
use crate::tensor::{DType, MAX_RANK, Shape};

/// A handle on a value of a recording: dense, row-major, written once.
#[derive(Clone, Copy)]
pub struct Tensor<'g> {
    graph: &'g Graph,
    id: ValueId,
    shape: Shape,
    dtype: DType,
}

/// Epilogue of a matrix product or convolution, applied before its sums are stored: `activation(sum + bias + residual)`.
#[derive(Clone, Copy, Default)]
pub struct Epilogue<'g> {
    /// `[channels]`, f32; for a batch `[batch, channels]`.
    pub bias: Option<Tensor<'g>>,
    /// Shaped like the result.
    pub residual: Option<Tensor<'g>>,
    /// Activation, applied after bias and residual.
    pub activation: Activation,
}

/// View of some columns of a tensor, which attention reads in place.
#[derive(Clone, Copy)]
pub struct ColumnView<'g> {
    tensor: Tensor<'g>,
    from: usize,
    count: usize,
}

impl<'g> Tensor<'g> {
    pub(super) fn new(graph: &'g Graph, id: ValueId, shape: Shape, dtype: DType) -> Tensor<'g> {
        Tensor { graph, id, shape, dtype }
    }

    /// The recording it belongs to.
    pub fn graph(self) -> &'g Graph {
        self.graph
    }

    /// Number of its value in the recording.
    pub fn id(self) -> ValueId {
        self.id
    }

    /// Sizes of its axes.
    pub fn shape(self) -> Shape {
        self.shape
    }

    /// Storage type.
    pub fn dtype(self) -> DType {
        self.dtype
    }

    /// The same elements under another shape. Free.
    #[track_caller]
    pub fn reshape(self, shape: impl Into<Shape>) -> Tensor<'g> {
        let shape = shape.into();
        assert!(shape.len() == self.shape.len(), "reshape: {} does not hold as many elements as {shape}", self.shape);
        Tensor { shape, ..self }
    }

    /// Matrix product: `self` `[…, k]` times `right` `[k, n]` → `[…, n]`, then the epilogue.
    #[track_caller]
    pub fn matmul(self, right: Tensor<'g>, epilogue: Epilogue<'g>) -> Tensor<'g> {
        let [inner, cols] = right.shape.axes();
        self.pair(right, [1, inner, cols], Pairing::Product, epilogue, "matmul")
    }

    /// Matrix products of a batch: `self` `[b, m, k]` times `right` `[b, k, n]` → `[b, m, n]`, then the epilogue, whose bias is `[b, n]`.
    #[track_caller]
    pub fn batched_matmul(self, right: Tensor<'g>, epilogue: Epilogue<'g>) -> Tensor<'g> {
        let ([batch, _, _], right_sizes) = (self.shape.axes::<3>(), right.shape.axes());
        assert!(batch == right_sizes[0], "batched_matmul: batches of {} and {} differ", self.shape, right.shape);
        self.pair(right, right_sizes, Pairing::Product, epilogue, "batched_matmul")
    }

    /// Euclidean distances between the rows of `self` `[m, k]` and the columns of `columns` `[k, n]` → `[m, n]`.
    #[track_caller]
    pub fn distances(self, columns: Tensor<'g>) -> Tensor<'g> {
        let epilogue = Epilogue { activation: Activation::Sqrt, ..Epilogue::default() };
        let [inner, cols] = columns.shape.axes();
        self.pair(columns, [1, inner, cols], Pairing::SquaredDifference, epilogue, "distances")
    }

    #[track_caller]
    fn pair(
        self,
        right: Tensor<'g>,
        [batch, inner, cols]: [usize; 3],
        pairing: Pairing,
        epilogue: Epilogue<'g>,
        operation: &str,
    ) -> Tensor<'g> {
        assert!(
            self.shape.cols() == inner,
            "{operation}: {} times {}: inner sizes {} and {inner} differ",
            self.shape,
            right.shape,
            self.shape.cols()
        );
        let shape = self.shape.with_cols(cols);
        epilogue.check(shape, batch, operation);
        let kernel = Matmul {
            batch,
            rows: self.shape.rows() / batch,
            cols,
            inner,
            pairing,
            has_bias: epilogue.bias.is_some(),
            has_residual: epilogue.residual.is_some(),
            activation: epilogue.activation,
        };
        self.launch(kernel, &[Some(self), Some(right), epilogue.bias, epilogue.residual], shape)
    }

    /// Convolution, channels last: `self` `[b, h, w, c]` with `weight` `[kh, kw, c, o]` → `[b, h', w', o]`, with zero padding,
    /// then the epilogue.
    #[track_caller]
    pub fn conv2d(self, weight: Tensor<'g>, stride: usize, padding: usize, epilogue: Epilogue<'g>) -> Tensor<'g> {
        let [batch, height, width, channels_in] = self.shape.axes();
        let [kernel_height, kernel_width, weight_channels, channels_out] = weight.shape.axes();
        assert!(
            channels_in == weight_channels,
            "conv2d: input {} has {channels_in} channels, weight {} expects {weight_channels}",
            self.shape,
            weight.shape
        );
        assert!(stride > 0 && !weight.shape.is_empty(), "conv2d: stride {stride} and weight {} must be positive", weight.shape);
        assert!(
            kernel_height <= height + 2 * padding && kernel_width <= width + 2 * padding,
            "conv2d: window {kernel_height}×{kernel_width} exceeds the input {} with padding {padding}",
            self.shape
        );
        let kernel = Conv2d {
            batch,
            height,
            width,
            channels_in,
            channels_out,
            kernel: (kernel_height, kernel_width),
            stride,
            padding,
            has_bias: epilogue.bias.is_some(),
            has_residual: epilogue.residual.is_some(),
            activation: epilogue.activation,
        };
        let shape = Shape::from([batch, kernel.height_out(), kernel.width_out(), channels_out]);
        epilogue.check(shape, 1, "conv2d");
        self.launch(kernel, &[Some(self), Some(weight), epilogue.bias, epilogue.residual], shape)
    }

    /// Largest value of each `window` × `window` patch, channels last; the padding never wins.
    #[track_caller]
    pub fn max_pool(self, window: usize, stride: usize, padding: usize) -> Tensor<'g> {
        self.pool(PoolKind::Max, window, stride, padding)
    }

    /// Mean of each `window` × `window` patch, channels last; zeros of the padding count.
    #[track_caller]
    pub fn average_pool(self, window: usize, stride: usize, padding: usize) -> Tensor<'g> {
        self.pool(PoolKind::Average, window, stride, padding)
    }

    #[track_caller]
    fn pool(self, kind: PoolKind, window: usize, stride: usize, padding: usize) -> Tensor<'g> {
        let [batch, height, width, channels] = self.shape.axes();
        assert!(window > 0 && stride > 0, "pool: window {window} and stride {stride} must be positive");
        assert!(2 * padding <= window, "pool: padding {padding} exceeds half the window {window}");
        assert!(
            window <= height + 2 * padding && window <= width + 2 * padding,
            "pool: window {window} exceeds the input {} with padding {padding}",
            self.shape
        );
        let kernel = Pool { kind, batch, height, width, channels, window, stride, padding };
        let shape = Shape::from([batch, kernel.height_out(), kernel.width_out(), channels]);
        self.launch(kernel, &[Some(self)], shape)
    }

    /// `activation(scale·x + offset)` of each element.
    #[track_caller]
    pub fn map(self, activation: Activation, scale: f32, offset: f32) -> Tensor<'g> {
        self.launch(Unary { activation, scale, offset, len: self.shape.len() }, &[Some(self)], self.shape)
    }

    /// Applies an activation to each element.
    #[track_caller]
    pub fn activate(self, activation: Activation) -> Tensor<'g> {
        self.map(activation, 1.0, 0.0)
    }

    /// Multiplies each element by a number.
    #[track_caller]
    pub fn scale(self, factor: f32) -> Tensor<'g> {
        self.map(Activation::Identity, factor, 0.0)
    }

    /// Element by element; `right` may lack leading axes and then repeats along them.
    #[track_caller]
    fn combine(self, op: BinaryOp, right: Tensor<'g>) -> Tensor<'g> {
        assert!(self.shape.sizes().ends_with(right.shape.sizes()), "{op:?}: {} is not a trailing part of {}", right.shape, self.shape);
        let kernel = Binary { op, len: self.shape.len(), right_len: right.shape.len() };
        self.launch(kernel, &[Some(self), Some(right)], self.shape)
    }

    /// Softmax over the last axis.
    #[track_caller]
    pub fn softmax(self) -> Tensor<'g> {
        self.launch(Softmax { rows: self.shape.rows(), cols: self.shape.cols() }, &[Some(self)], self.shape)
    }

    /// Layer norm over the last axis with its scale and offset, both f32 `[cols]` (Ba et al. 2016).
    #[track_caller]
    pub fn layer_norm(self, weight: Tensor<'g>, bias: Tensor<'g>, eps: f32) -> Tensor<'g> {
        let kernel = LayerNorm { rows: self.shape.rows(), cols: self.shape.cols(), eps };
        self.launch(kernel, &[Some(self), Some(weight), Some(bias)], self.shape)
    }

    /// Group norm of `[images, …, channels]` with its scale and offset, both f32 `[channels]` (Wu & He 2018).
    #[track_caller]
    pub fn group_norm(self, groups: usize, weight: Tensor<'g>, bias: Tensor<'g>, eps: f32) -> Tensor<'g> {
        let (images, channels) = (self.shape[0], self.shape.cols());
        assert!(groups > 0 && channels.is_multiple_of(groups), "group_norm: {groups} groups do not divide the channels of {}", self.shape);
        let kernel = GroupNorm { images, cells: self.shape.rows() / images, channels, groups, eps };
        self.launch(kernel, &[Some(self), Some(weight), Some(bias)], self.shape)
    }

    /// The inverse of the sigmoid, `self` and 1 − `self` being raised to `eps`. f32 only.
    #[track_caller]
    pub fn logit(self, eps: f32) -> Tensor<'g> {
        self.launch(Logit { eps, len: self.shape.len() }, &[Some(self)], self.shape)
    }

    /// Sines and cosines of positions with so many f32 `periods` `[p]`: f32 `[n, c]` → `[n, c · 2 · p]` in this storage.
    #[track_caller]
    pub fn sine_positions(self, periods: Tensor<'g>, dtype: DType) -> Tensor<'g> {
        let kernel = SinePositions { positions: self.shape.len(), periods: periods.shape.len() };
        let shape = self.shape.with_cols(self.shape.cols() * 2 * periods.shape.len());
        self.graph.launch(kernel, &[Some(self), Some(periods)], shape, dtype)
    }

    /// Numbers of the rows with the `count` highest of the scores of each sequence, highest first: f32 `[sequences, rows]` → whole numbers
    /// `[sequences, count]`, which count through all sequences.
    #[track_caller]
    pub fn top_rows(self, count: usize) -> Tensor<'g> {
        let [sequences, rows] = self.shape.axes();
        assert!(count <= rows, "top_rows: {count} of {rows} rows");
        self.launch(TopRows { sequences, rows, count }, &[Some(self)], Shape::from([sequences, count]))
    }

    /// Each row divided by its Euclidean length, or by `eps` where that is longer.
    #[track_caller]
    pub fn normalize_rows(self, eps: f32) -> Tensor<'g> {
        let kernel = NormalizeRows { rows: self.shape.rows(), cols: self.shape.cols(), eps };
        self.launch(kernel, &[Some(self)], self.shape)
    }

    /// `[b, h, w, c]` resized to `[b, size.0, size.1, c]` as PyTorch's `interpolate` (half-pixel centres, no antialiasing).
    #[track_caller]
    pub fn resize(self, interpolation: Interpolation, size: (usize, usize)) -> Tensor<'g> {
        let [batch, height, width, channels] = self.shape.axes();
        let (height_out, width_out) = size;
        let kernel = Resize { interpolation, batch, height, width, channels, height_out, width_out };
        self.launch(kernel, &[Some(self)], Shape::from([batch, height_out, width_out, channels]))
    }

    /// Pixels of an image where logits `[masks, rows, cols]`, f32, are above 0 → bits, 16 in a whole number
    /// `[masks, height, ⌈width / 16⌉]`; see [`RegionMask`].
    #[track_caller]
    pub fn region_mask(self, geometry: MaskGeometry) -> Tensor<'g> {
        let [masks, rows, cols] = self.shape.axes();
        assert!((rows, cols) == geometry.mask, "region_mask: masks of {rows}×{cols}, not {}×{}", geometry.mask.0, geometry.mask.1);
        let (height, width) = geometry.image;
        self.launch(RegionMask { masks, geometry }, &[Some(self)], Shape::from([masks, height, RegionMask::numbers(width)]))
    }

    /// Mean of the `count` largest or smallest of each row: f32 `[rows, cols]` → `[rows]`.
    #[track_caller]
    pub fn top_mean(self, selection: Selection, count: usize) -> Tensor<'g> {
        let [rows, cols] = self.shape.axes();
        assert!(count > 0 && count <= cols, "top_mean: {count} of {cols} columns");
        self.launch(TopMean { selection, rows, cols, count }, &[Some(self)], Shape::from([rows]))
    }

    /// Axes in another order: axis i of the result is axis `order[i]` of `self`.
    #[track_caller]
    pub fn permute(self, order: &[usize]) -> Tensor<'g> {
        let rank = self.shape.rank();
        let mut seen = [false; MAX_RANK];
        for &axis in order {
            assert!(axis < rank && !seen[axis], "permute: {order:?} is no order of the axes of {}", self.shape);
            seen[axis] = true;
        }
        assert!(order.len() == rank, "permute: {order:?} is no order of the axes of {}", self.shape);
        let lead = MAX_RANK - rank;
        let mut sizes = [1; MAX_RANK];
        sizes[lead..].copy_from_slice(self.shape.sizes());
        let mut full = std::array::from_fn(|axis| axis);
        for (at, &axis) in order.iter().enumerate() {
            full[lead + at] = lead + axis;
        }
        let shape: Vec<usize> = order.iter().map(|&axis| self.shape[axis]).collect();
        self.launch(Permute { sizes, order: full }, &[Some(self)], Shape::new(&shape))
    }

    /// `[m, n]` → `[n, m]`.
    #[track_caller]
    pub fn transposed(self) -> Tensor<'g> {
        self.permute(&[1, 0])
    }

    /// `[b, c, h, w]` → `[b, h, w, c']` with zero channels added up to the next multiple of `multiple`.
    #[track_caller]
    pub fn channels_last(self, multiple: usize) -> Tensor<'g> {
        self.channels_last_with_border(multiple, 0)
    }

    /// As [`Tensor::channels_last`], with a border of zeros: `[b, c, h, w]` → `[b, h + 2·border, w + 2·border, c']`. A convolution without
    /// padding reads it as one with padding reads the image, and faster.
    #[track_caller]
    pub fn channels_last_with_border(self, multiple: usize, border: usize) -> Tensor<'g> {
        let [batch, channels, height, width] = self.shape.axes();
        let padded = channels.next_multiple_of(multiple);
        let kernel = ChannelsLast { batch, channels, height, width, padded, border };
        self.launch(kernel, &[Some(self)], Shape::from([batch, height + 2 * border, width + 2 * border, padded]))
    }

    /// `[b, h, w, c]` → `[b, c, h, w]`, as PyTorch lays images out.
    #[track_caller]
    pub fn channels_first(self) -> Tensor<'g> {
        self.permute(&[0, 3, 1, 2])
    }

    /// Concatenates along the last axis: `[…, m]` and `[…, n]` → `[…, m + n]`.
    #[track_caller]
    pub fn concat(self, right: Tensor<'g>) -> Tensor<'g> {
        let (left, rows) = (self.shape.cols(), self.shape.rows());
        assert!(right.shape.rows() == rows, "concat: row counts of {} and {} differ", self.shape, right.shape);
        let kernel = Concat { rows, left, right: right.shape.cols() };
        self.launch(kernel, &[Some(self), Some(right)], self.shape.with_cols(left + right.shape.cols()))
    }

    /// Gathers rows by number, repeats allowed: `[n, c]` → `[rows.len(), c]`.
    #[track_caller]
    pub fn gather(self, rows: &[usize]) -> Tensor<'g> {
        let [rows_in, _] = self.shape.axes();
        assert!(rows.iter().all(|&row| row < rows_in), "gather: a row beyond the {rows_in} of {}", self.shape);
        self.gather_numbers(rows.iter().copied())
    }

    /// As [`Tensor::gather`], with a row of zeros for each `None`.
    #[track_caller]
    pub fn gather_padded(self, rows: &[Option<usize>]) -> Tensor<'g> {
        let [rows_in, _] = self.shape.axes();
        assert!(rows.iter().flatten().all(|&row| row < rows_in), "gather: a row beyond the {rows_in} of {}", self.shape);
        self.gather_numbers(rows.iter().map(|row| row.unwrap_or(rows_in)))
    }

    #[track_caller]
    fn gather_numbers(self, rows: impl ExactSizeIterator<Item = usize>) -> Tensor<'g> {
        self.gather_at(self.graph.constant(&Constant::whole("rows", [rows.len()], rows)))
    }

    /// Gathers rows by numbers `[m]` that the device has, whole numbers up to n: `[n, c]` → `[m, c]`, with zeros where a number is n.
    #[track_caller]
    pub fn gather_at(self, rows: Tensor<'g>) -> Tensor<'g> {
        let [rows_in, cols] = self.shape.axes();
        let rows_out = rows.shape.len();
        self.launch(Gather { rows_in, rows_out, cols }, &[Some(self), Some(rows)], Shape::from([rows_out, cols]))
    }

    /// Attention inside windows: `self` `[cells, 3·dim]`, queries, keys and values of the cells of images → `[cells, dim]` (Liu et al. 2021).
    ///
    /// `padding` `[3·dim]` is what `self` is for cells past the edge, `bias` `[heads, (2·window − 1)²]` is added to scores by the difference
    /// of rows and columns from key to query; both f32.
    #[track_caller]
    pub fn window_attention(self, padding: Tensor<'g>, bias: Tensor<'g>, geometry: WindowGeometry, heads: usize) -> Tensor<'g> {
        let (rows, cols) = (self.shape.rows(), self.shape.cols());
        assert!(rows == geometry.cells(), "window_attention: {} is not one row for each cell of {geometry:?}", self.shape);
        assert!(geometry.shift < geometry.window, "window_attention: {geometry:?} is shifted by a window or more");
        let dim = cols / 3;
        assert!(
            heads > 0 && dim * 3 == cols && dim.is_multiple_of(4 * heads),
            "window_attention: {cols} columns are not queries, keys and values of {heads} heads of a multiple of 4"
        );
        let kernel = WindowAttention { geometry, heads, head_dim: dim / heads };
        self.launch(kernel, &[Some(self), Some(padding), Some(bias)], Shape::from([rows, dim]))
    }

    /// Deformable attention: samples `self` `[sequences, cells, dim]`, the levels of a pyramid, at `points` of each level around references
    /// (Zhu et al. 2021): `offsets` `[sequences, queries, heads·levels·points·2]`, `weights` `[sequences, queries, heads·levels·points]` →
    /// `[sequences, queries, dim]`.
    ///
    /// `references` are points `[queries, 2]`, the same for all sequences, or boxes `[sequences, queries, 4]`; all but `self` is f32.
    #[track_caller]
    pub fn deformable_attention(
        self,
        [offsets, weights, references]: [Tensor<'g>; 3],
        levels: &[Grid],
        heads: usize,
        points: usize,
    ) -> Tensor<'g> {
        let ([sequences, _, dim], [_, queries, _]) = (self.shape.axes::<3>(), weights.shape.axes::<3>());
        assert!(levels.len() <= MAX_LEVELS, "deformable_attention: {} levels are more than {MAX_LEVELS}", levels.len());
        assert!(heads > 0 && dim.is_multiple_of(4 * heads), "deformable_attention: {heads} heads of a multiple of 4 do not make {dim}");
        let has_boxes = references.shape.cols() == 4;
        let kernel = DeformableAttention { sequences, queries, levels: levels.to_vec(), heads, head_dim: dim / heads, points, has_boxes };
        let inputs = [Some(self), Some(offsets), Some(weights), Some(references)];
        self.launch(kernel, &inputs, Shape::from([sequences, queries, dim]))
    }

    /// View of `count` columns from `from` on. Free; only attention takes it.
    #[track_caller]
    pub fn columns(self, from: usize, count: usize) -> ColumnView<'g> {
        assert!(from + count <= self.shape.cols(), "columns: {from} to {} of {}", from + count, self.shape);
        ColumnView { tensor: self, from, count }
    }

    /// The same values in another storage; free when it is the same.
    #[track_caller]
    pub fn cast(self, dtype: DType) -> Tensor<'g> {
        if dtype == self.dtype {
            return self;
        }
        let direction = match dtype {
            DType::F32 => CastDirection::ToF32,
            DType::F16 => CastDirection::FromF32,
            DType::U32 => panic!("cast: {} holds no whole numbers", self.shape),
        };
        assert!(self.dtype != DType::U32, "cast: {} holds whole numbers", self.shape);
        self.graph.launch(Cast { direction, len: self.shape.len() }, &[Some(self)], self.shape, DType::F16)
    }

    /// Records a launch whose `Elem` is the storage of `self`.
    #[track_caller]
    fn launch(self, kernel: impl Kernel + 'static, inputs: &[Option<Tensor<'g>>], shape: Shape) -> Tensor<'g> {
        self.graph.launch(kernel, inputs, shape, self.dtype)
    }
}

impl<'g> ColumnView<'g> {
    /// Attention of queries to the keys in their ranges, for `heads` heads side by side (Vaswani et al. 2017):
    /// `[queries, dim]`, `[keys, dim]`, `[keys, dim]` → `[queries, dim]`.
    #[track_caller]
    pub fn attention<'a>(
        query: ColumnView<'g>,
        key: ColumnView<'g>,
        value: ColumnView<'g>,
        ranges: impl Into<Ranges<'a, 'g>>,
        heads: usize,
    ) -> Tensor<'g>
    where
        'g: 'a,
    {
        ColumnView::attend([query, key, value], ranges.into(), heads, None)
    }

    /// Attention of queries to keys and values that are the cells of grids, with decomposed relative positions (Li et al. 2022).
    ///
    /// `rel_pos` `[queries · heads, 2·rows + 2·cols]` is added to the scores: one element for the difference of rows from key to
    /// query (the first is that of −rows), one for the difference of columns (from −cols on).
    #[track_caller]
    pub fn attention_on_grid(views: [ColumnView<'g>; 3], rel_pos: Tensor<'g>, on_grid: &GridKeyRanges, heads: usize) -> Tensor<'g> {
        ColumnView::attend(views, on_grid.key_ranges().into(), heads, Some((rel_pos, on_grid)))
    }

    #[track_caller]
    fn attend(
        [query, key, value]: [ColumnView<'g>; 3],
        ranges: Ranges<'_, 'g>,
        heads: usize,
        relative: Option<(Tensor<'g>, &GridKeyRanges)>,
    ) -> Tensor<'g> {
        let dim = query.count;
        assert!(heads > 0 && dim.is_multiple_of(heads), "attention: {heads} heads do not divide the width {dim}");
        assert!(key.count == dim && value.count == dim, "attention: {dim}, {} and {} columns differ", key.count, value.count);
        let rows = |view: ColumnView<'_>| view.tensor.shape.rows();
        assert!(
            rows(query) == ranges.queries() && rows(key) == ranges.keys() && rows(value) == ranges.keys(),
            "attention: {} and {} rows, the key ranges are of {} and {}",
            rows(query),
            rows(key),
            ranges.queries(),
            ranges.keys()
        );
        let layout = |view: ColumnView<'_>| HeadLayout { stride: view.tensor.shape.cols(), offset: view.from };
        let kernel = Attention {
            queries: ranges.queries(),
            keys: ranges.keys(),
            heads,
            head_dim: dim / heads,
            q: layout(query),
            k: layout(key),
            v: layout(value),
            grid: relative.map(|(_, on_grid)| on_grid.grid()),
            pairs: ranges.pairs(),
        };
        let graph = query.tensor.graph;
        let rel_pos = relative.map(|(rel_pos, _)| rel_pos);
        let query_cells = relative.map(|(_, on_grid)| graph.constant(on_grid.query_cells()));
        let ends = ranges.ends(graph);
        let inputs = [Some(query.tensor), Some(key.tensor), Some(value.tensor), Some(ends), rel_pos, query_cells];
        query.tensor.launch(kernel, &inputs, Shape::from([ranges.queries(), dim]))
    }
}

impl Epilogue<'_> {
    #[track_caller]
    fn check(&self, shape: Shape, batch: usize, operation: &str) {
        if let Some(bias) = self.bias {
            assert!(
                bias.shape.cols() == shape.cols() && bias.shape.rows() == batch,
                "{operation}: bias {} does not fit the result {shape}",
                bias.shape
            );
        }
        if let Some(residual) = self.residual {
            assert!(residual.shape.len() == shape.len(), "{operation}: residual {} does not fit the result {shape}", residual.shape);
        }
    }
}

impl<'g> Add for Tensor<'g> {
    type Output = Tensor<'g>;
    #[track_caller]
    fn add(self, right: Tensor<'g>) -> Tensor<'g> {
        self.combine(BinaryOp::Add, right)
    }
}

impl<'g> Sub for Tensor<'g> {
    type Output = Tensor<'g>;
    #[track_caller]
    fn sub(self, right: Tensor<'g>) -> Tensor<'g> {
        self.combine(BinaryOp::Sub, right)
    }
}

impl<'g> Mul for Tensor<'g> {
    type Output = Tensor<'g>;
    #[track_caller]
    fn mul(self, right: Tensor<'g>) -> Tensor<'g> {
        self.combine(BinaryOp::Mul, right)
    }
}

impl fmt::Debug for Tensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor #{} {} {}", self.id, self.shape, self.dtype)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Precision;

    #[test]
    #[should_panic(expected = "matmul: [4, 3] times [5, 2]: inner sizes 3 and 5 differ")]
    fn a_shape_mistake_names_both_shapes() {
        let graph = Graph::new(Precision::F32);
        let (a, b) = (graph.input("a", [4, 3]), graph.input("b", [5, 2]));
        a.matmul(b, Epilogue::default());
    }

    #[test]
    fn a_node_knows_the_line_that_wrote_it() {
        let graph = Graph::new(Precision::F32);
        let x = graph.input("x", [2, 3]);
        let line = line!() + 1;
        let y = x + x;
        assert_eq!(graph.nodes()[0].line(), format!("{}:{line}", file!()));
        assert_eq!(y.shape(), x.shape());
    }

    #[test]
    fn reshape_is_free_and_permute_is_not() {
        let graph = Graph::new(Precision::F32);
        let x = graph.input("x", [2, 3, 4]);
        assert_eq!(x.reshape([6, 4]).id(), x.id());
        assert!(graph.nodes().is_empty());
        assert_eq!(x.permute(&[2, 0, 1]).shape(), Shape::from([4, 2, 3]));
        assert_eq!(graph.nodes().len(), 1);
    }
}
