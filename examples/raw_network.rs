//! Runs one network on arrays, without images or methods: the features of the WideResNet inside the library.

use zsas::models::{WideResNet, embedded};
use zsas::{Array, DType, Device, DeviceOptions, Graph, Precision, Program};

fn main() -> zsas::Result<()> {
    let device = Device::open(&DeviceOptions::default())?;
    let network = WideResNet::load(&embedded::textures()?.root())?;
    let graph = Graph::new(Precision::F32);
    let layers = network.forward(graph.input("pixels", [1, 3, 64, 96]));
    let outputs: Vec<_> = layers.iter().map(|layer| layer.cast(DType::F32).channels_first()).collect();
    let program = Program::compile(&device, &graph, &outputs)?;
    let pixels = Array::new([1, 3, 64, 96], (0..3 * 64 * 96).map(|at| (at % 17) as f32 / 17.0).collect());
    for (layer, array) in program.run(&[&pixels])?.iter().enumerate() {
        println!("layer{} {} {:?}", layer + 1, array.shape(), &array.data()[..4]);
    }
    Ok(())
}
