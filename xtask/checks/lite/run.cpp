// Runs a saved model with the lite interpreter: run MODEL INPUT OUTPUT SIZE...
// INPUT and OUTPUT hold 32-bit floating-point numbers. Prints the seconds of four runs.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/jit/mobile/import.h>
#include <torch/csrc/jit/mobile/module.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <vector>

int main(int argc, char** argv) {
  if (argc < 5) {
    std::fprintf(stderr, "run MODEL INPUT OUTPUT SIZE...\n");
    return 2;
  }
  c10::InferenceMode guard;
  std::vector<int64_t> sizes;
  int64_t count = 1;
  for (int i = 4; i < argc; ++i) {
    sizes.push_back(std::atoll(argv[i]));
    count *= sizes.back();
  }
  std::vector<float> numbers(count);
  std::ifstream input(argv[2], std::ios::binary);
  if (!input.read(reinterpret_cast<char*>(numbers.data()), count * sizeof(float))) {
    std::fprintf(stderr, "%s is too short\n", argv[2]);
    return 2;
  }
  auto module = torch::jit::_load_for_mobile(argv[1]);
  auto tensor = at::from_blob(numbers.data(), sizes, at::kFloat);
  at::Tensor output;
  for (int i = 0; i < 4; ++i) {
    auto start = std::chrono::steady_clock::now();
    output = module.forward({tensor}).toTensor().contiguous();
    std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    std::printf("%.3f s\n", took.count());
  }
  std::ofstream file(argv[3], std::ios::binary);
  file.write(reinterpret_cast<const char*>(output.data_ptr<float>()),
             output.numel() * sizeof(float));
  return file ? 0 : 1;
}
