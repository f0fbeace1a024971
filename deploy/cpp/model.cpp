#include "model.hpp"

#include <algorithm>
#include <cmath>

#include "edge_file.hpp"

using nlohmann::json;
using nlohmann::ordered_json;

namespace {
double apart(double got, double want) {
    return std::abs(got - want) / std::max(std::abs(want), 1e-12);
}
}  // namespace

EdgeModel::EdgeModel(const std::string& path, int threads) {
    try {
        open(path, threads);
    } catch (const ModelFileError&) {
        throw;
    } catch (const std::exception& error) {
        std::string reason = error.what();
        std::replace(reason.begin(), reason.end(), '\n', ' ');
        throw ModelFileError(path + ": cannot be used (" + reason + "); export it again");
    }
}

void EdgeModel::open(const std::string& path, int threads) {
    const std::string bytes = read_sealed(path);
    ov::Core core;
    const auto network = core.read_model(bytes, ov::Tensor());
    const json about = json::parse(network->get_rt_info<std::string>("framework", "anomalib_lite"));
    if (about.at("format") != "anomalib_lite.edge" || about.at("format_version") > 1)
        throw ModelFileError(path + ": is of another format than this program reads; build it "
                                    "from the version that wrote the file");
    if (about.contains("measured_inputs"))
        throw ModelFileError(path + ": sees measured inputs beside the picture, which this program "
                                    "does not; use the Python package");
    const std::string engine =
        about.at("about").value(json::json_pointer("/precision/engine"), std::string());
    if (!engine.empty())
        throw ModelFileError(path + ": was calibrated for the engine " + engine +
                             ", and this program computes in float32; export it in fp32 or int8");
    spec_ = InputSpec(about.at("input_spec"));
    calibration_ = Calibration(about.at("calibration"));
    const json& detector = about.at("about").at("detector");
    if (detector.contains("protocol")) signature_["protocol"] = detector["protocol"];
    signature_["model_sha256"] = sha256(bytes);
    signature_["threshold"] = calibration_.threshold;
    signature_["promised_false_reject"] = calibration_.false_reject_rate;

    ov::AnyMap options{ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY),
                       ov::hint::inference_precision(ov::element::f32)};
    if (threads > 0) options.insert(ov::inference_num_threads(threads));
    compiled_ = core.compile_model(network, "CPU", options);
    request_ = compiled_.create_infer_request();
    test(about.at("probes"), about.at("tolerance"));
}

// This machine must give for the frames in the file what the fitted model gave.
void EdgeModel::test(const json& probes, double tolerance) {
    for (const json& probe : probes) {
        const auto png = from_base64(probe.at("png"));
        const cv::Mat frame = decode({png.begin(), png.end()}, false);
        const Outputs found = run(prepare(frame, spec_.of_copies()));
        const double peak = *std::max_element(found.map.begin<float>(), found.map.end<float>());
        const double expected = probe.at("score");
        const double worst =
            std::max(apart(found.score, expected), apart(peak, probe.at("map_peak")));
        const double threshold = calibration_.threshold;
        const bool undecided = std::abs(expected - threshold) <= tolerance * std::abs(expected);
        const bool flipped = (found.score > threshold) != (expected > threshold) && !undecided;
        if (worst > tolerance || flipped)
            throw std::runtime_error("self-test failed on the frame '" +
                                     probe.at("name").get<std::string>() + "': expected " +
                                     std::to_string(expected) + ", got " +
                                     std::to_string(found.score) +
                                     "; this machine computes differently");
    }
}

EdgeModel::Outputs EdgeModel::run(const cv::Mat& prepared) {
    const ov::Shape shape{1, static_cast<std::size_t>(prepared.rows),
                          static_cast<std::size_t>(prepared.cols), 3};
    request_.set_tensor("frames", ov::Tensor(ov::element::u8, shape, prepared.data));
    request_.infer();
    ov::Tensor map = request_.get_tensor("anomaly_map");
    const ov::Shape cells = map.get_shape();
    Outputs found{*request_.get_tensor("score").data<float>(),
                  cv::Mat(static_cast<int>(cells.at(1)), static_cast<int>(cells.at(2)), CV_32F,
                          map.data<float>()),
                  {}};
    bool finite = std::isfinite(found.score) && cv::checkRange(found.map);
    for (const auto& output : compiled_.outputs()) {
        if (output.get_names().count("score") || output.get_names().count("anomaly_map")) continue;
        ov::Tensor values = request_.get_tensor(output);
        const std::vector<float> numbers(values.data<float>(),
                                         values.data<float>() + values.get_size());
        finite = finite && std::all_of(numbers.begin(), numbers.end(),
                                       [](float number) { return std::isfinite(number); });
        if (values.get_shape().size() == 1) found.extra[output.get_any_name()] = numbers.at(0);
        if (values.get_shape().size() == 2) found.extra[output.get_any_name()] = numbers;
    }
    if (!finite) throw FrameError("the network's output is NaN or infinite for this frame");
    return found;
}

ordered_json EdgeModel::judge(cv::Size frame, const cv::Mat& prepared) {
    const Outputs found = run(prepared);
    ordered_json line{{"score", found.score},
                      {"p_value", calibration_.p_value(found.score)},
                      {"is_anomalous", found.score > calibration_.threshold},
                      {"regions", find_regions(found.map, calibration_.map_threshold, frame)}};
    if (!found.extra.empty()) line["extra"] = found.extra;
    return line;
}
