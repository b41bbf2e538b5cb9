// Cleans PGM, PPM and PAM pictures of 8 or 16 bits: ./client MODEL.onnx NOISY CLEAN [NOISY CLEAN ...]
// Build it where ORT_HOME has the include/ and lib/ of onnxruntime:
// g++ -std=c++17 -O2 -ffp-contract=off -I$ORT_HOME/include client.cpp -L$ORT_HOME/lib -Wl,-rpath,$ORT_HOME/lib -lonnxruntime -o client
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <onnxruntime_cxx_api.h>

using Floats = std::vector<float>;

struct Picture {
  std::string header;
  int width, height, depth, white;
  std::vector<int> values;  // height x width x depth
};

Picture read(const std::string& name) {
  std::ifstream file(name, std::ios::binary);
  const std::string data{std::istreambuf_iterator<char>(file), {}};
  Picture picture{};
  std::istringstream words(data);
  std::string kind, word;
  words >> kind;
  if (kind == "P7") {
    while (words >> word && word != "ENDHDR") {
      if (word == "WIDTH") words >> picture.width;
      if (word == "HEIGHT") words >> picture.height;
      if (word == "DEPTH") words >> picture.depth;
      if (word == "MAXVAL") words >> picture.white;
    }
  } else if (kind == "P5" || kind == "P6") {
    picture.depth = kind == "P5" ? 1 : 3;
    words >> picture.width >> picture.height >> picture.white;
  }
  const size_t start = static_cast<size_t>(words.tellg()) + 1, bytes = picture.white > 255 ? 2 : 1;
  const size_t count = static_cast<size_t>(picture.width) * picture.height * picture.depth;
  if (!words || count == 0 || data.size() < start + count * bytes)
    throw std::runtime_error(name + " is no complete PGM, PPM or PAM");
  picture.header = data.substr(0, start);
  for (size_t i = start; i < start + count * bytes; i += bytes) {
    const int first = static_cast<uint8_t>(data[i]);
    picture.values.push_back(bytes == 1 ? first : first * 256 + static_cast<uint8_t>(data[i + 1]));
  }
  return picture;
}

void write(const std::string& name, const Picture& picture) {
  std::ofstream file(name, std::ios::binary);
  file << picture.header;
  for (int value : picture.values) {
    if (picture.white > 255) file.put(static_cast<char>(value >> 8));
    file.put(static_cast<char>(value));
  }
  if (!file.flush()) throw std::runtime_error(name + " cannot be written");
}

struct Model {
  Ort::Env env{ORT_LOGGING_LEVEL_ERROR};
  Ort::Session session;
  Ort::AllocatorWithDefaultOptions allocator;
  int side, overlap, channels;
  bool channelsLast;
  int64_t fixedBatch;  // -1 where any number of patches may be given

  explicit Model(const char* file) : session(env, file, Ort::SessionOptions{}) {
    const std::string schema = says("schema");
    if ((schema != "1" && schema != "2") || says("task") != "restore" || says("dtype") != "float32")
      throw std::runtime_error(std::string(file) + " is no model of CAE Toolkit for task restore that takes float32");
    side = std::stoi(says("patch")), overlap = std::stoi(says("overlap")), channels = std::stoi(says("channels"));
    channelsLast = says("layout") == "nhwc";
    fixedBatch = session.GetInputTypeInfo(0).GetTensorTypeAndShapeInfo().GetShape()[0];
  }

  std::string says(const char* key) {
    const auto value = session.GetModelMetadata().LookupCustomMetadataMapAllocated(key, allocator);
    return value ? value.get() : "";
  }

  // Patches of side x side x planes, one after the other. A model of three channels sees gray as three equal ones.
  Floats run(const Floats& patches, int planes) {
    const size_t area = static_cast<size_t>(side) * side, count = patches.size() / area / planes;
    const size_t batch = fixedBatch > 0 ? fixedBatch : count;
    const size_t pixelStep = channelsLast ? channels : 1, channelStep = channelsLast ? 1 : area;
    std::vector<int64_t> shape{static_cast<int64_t>(batch), channels, side, side};
    if (channelsLast) shape = {static_cast<int64_t>(batch), side, side, channels};
    const auto input = session.GetInputNameAllocated(0, allocator), output = session.GetOutputNameAllocated(0, allocator);
    const char *inputs[] = {input.get()}, *outputs[] = {output.get()};
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    Floats cleaned(patches.size());
    for (size_t first = 0; first < count; first += batch) {
      const size_t some = std::min(batch, count - first);
      Floats given(batch * area * channels);  // the rest of a fixed batch stays 0
      const auto at = [&](size_t n, size_t i, int c) { return n * area * channels + i * pixelStep + c * channelStep; };
      for (size_t n = 0; n < some; n++)
        for (size_t i = 0; i < area; i++)
          for (int c = 0; c < channels; c++)
            given[at(n, i, c)] = patches[((first + n) * area + i) * planes + (planes > 1 ? c : 0)];
      Ort::Value tensor = Ort::Value::CreateTensor<float>(memory, given.data(), given.size(), shape.data(), shape.size());
      const auto results = session.Run(Ort::RunOptions{}, inputs, &tensor, 1, outputs, 1);
      const float* result = results[0].GetTensorData<float>();
      for (size_t n = 0; n < some; n++)
        for (size_t i = 0; i < area; i++)
          for (int k = 0; k < planes; k++)
            cleaned[((first + n) * area + i) * planes + k] =
                planes < channels ? (result[at(n, i, 0)] + result[at(n, i, 1)] + result[at(n, i, 2)]) / 3
                                  : result[at(n, i, k)];
    }
    return cleaned;
  }
};

// Where the patches lie along one axis, and their weights.
struct Axis {
  std::vector<int> starts;
  std::vector<Floats> weights;

  Axis(int length, int side, int overlap) {
    for (int start = 0; start < length - side; start += side - overlap) starts.push_back(start);
    starts.push_back(length - side);
    const auto ramp = [&](int i) { return i < overlap ? (i + 0.5) / overlap : 1.0; };
    std::vector<double> total(length);
    for (int start : starts)
      for (int i = 0; i < side; i++) total[start + i] += ramp(i) * ramp(side - 1 - i);
    for (int start : starts) {
      weights.emplace_back();
      for (int i = 0; i < side; i++)
        weights.back().push_back(static_cast<float>(ramp(i) * ramp(side - 1 - i) / total[start + i]));
    }
  }
};

// An index beyond the end, mirrored at the last pixel, and at the first, and so on.
int reflected(int i, int length) {
  const int period = std::max(1, 2 * (length - 1));
  return std::min(i % period, period - i % period);
}

// height x width x planes in 0..1 -> the same, cleaned
Floats blended(Model& model, const Floats& seen, int width, int height, int planes) {
  const int side = model.side, wide = std::max(width, side), high = std::max(height, side);
  const Axis rows(high, side, model.overlap), columns(wide, side, model.overlap);
  const size_t row = static_cast<size_t>(wide) * planes;
  Floats total(high * row);
  for (size_t r = 0; r < rows.starts.size(); r++) {
    Floats patches;
    for (int left : columns.starts)
      for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++)
          for (int k = 0; k < planes; k++) {
            const size_t from = reflected(rows.starts[r] + y, height);
            patches.push_back(seen[(from * width + reflected(left + x, width)) * planes + k]);
          }
    const Floats cleaned = model.run(patches, planes);
    Floats strip(side * row);
    const float* value = cleaned.data();
    for (size_t n = 0; n < columns.starts.size(); n++)
      for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++)
          for (int k = 0; k < planes; k++)
            strip[y * row + (columns.starts[n] + x) * planes + k] += columns.weights[n][x] * *value++;
    for (int y = 0; y < side; y++)
      for (size_t i = 0; i < row; i++) total[(rows.starts[r] + y) * row + i] += rows.weights[r][y] * strip[y * row + i];
  }
  Floats result;  // without the padding
  for (int y = 0; y < height; y++)
    result.insert(result.end(), total.begin() + y * row, total.begin() + y * row + static_cast<size_t>(width) * planes);
  return result;
}

void clean(Model& model, Picture& picture) {
  const int colors = picture.depth > 2 ? 3 : 1;  // what follows is alpha, and stays
  const bool byLuminance = model.channels == 1 && colors == 3;
  const int planes = byLuminance ? 1 : colors;
  const size_t pixels = picture.values.size() / picture.depth;
  const float white = static_cast<float>(picture.white);
  Floats seen;
  for (size_t i = 0; i < pixels; i++) {
    const int* pixel = &picture.values[i * picture.depth];
    if (byLuminance)  // ITU-R BT.601
      seen.push_back(((9798LL * pixel[0] + 19235LL * pixel[1] + 3735LL * pixel[2] + (1 << 14)) >> 15) / white);
    else
      for (int k = 0; k < colors; k++) seen.push_back(pixel[k] / white);
  }
  const Floats cleaned = blended(model, seen, picture.width, picture.height, planes);
  for (size_t i = 0; i < pixels; i++)
    for (int k = 0; k < colors; k++) {
      int& value = picture.values[i * picture.depth + k];  // nearbyint rounds halves to the even number
      if (byLuminance)
        value = std::clamp(value + static_cast<int>(std::nearbyint((cleaned[i] - seen[i]) * white)), 0, picture.white);
      else
        value = static_cast<int>(std::nearbyint(std::clamp(cleaned[i * colors + k], 0.0f, 1.0f) * white));
    }
}

int main(int count, char** words) {
  try {
    if (count < 4 || count % 2) throw std::runtime_error("client MODEL.onnx NOISY CLEAN [NOISY CLEAN ...]");
    Model model(words[1]);
    for (int i = 2; i + 1 < count; i += 2) {
      Picture picture = read(words[i]);
      clean(model, picture);
      write(words[i + 1], picture);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return EXIT_FAILURE;
  }
}
