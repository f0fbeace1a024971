// An exported detector: opened, its seal checked, its self-test run. Then it judges frames.
#pragma once

#include <string>

#include <nlohmann/json.hpp>
#include <opencv2/core.hpp>
#include <openvino/openvino.hpp>

#include "prepare.hpp"
#include "verdict.hpp"

class EdgeModel {
public:
    // threads: inside one inference; 0 leaves it to the engine. Throws ModelFileError.
    EdgeModel(const std::string& path, int threads);

    const InputSpec& spec() const { return spec_; }

    // The verdict on a frame (its size in pixels) that was prepared; throws FrameError.
    nlohmann::ordered_json judge(cv::Size frame, const cv::Mat& prepared);

    // What each line says of the judge.
    const nlohmann::ordered_json& signature() const { return signature_; }

private:
    struct Outputs {
        float score;
        cv::Mat map;                   // float32 (h, w), valid until the next run
        nlohmann::ordered_json extra;  // further outputs that are numbers, by name
    };

    void open(const std::string& path, int threads);
    Outputs run(const cv::Mat& prepared);
    void test(const nlohmann::json& probes, double tolerance);

    ov::CompiledModel compiled_;
    ov::InferRequest request_;
    InputSpec spec_;
    Calibration calibration_;
    nlohmann::ordered_json signature_;
};
