// From raw outputs to the verdict: the conformal p-value and the regions of edge/prediction.py.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <opencv2/core.hpp>

// Scores of good images and what follows from them.
struct Calibration {
    double threshold = 0, map_threshold = 0, false_reject_rate = 0, doubtful = 0, parts = 1;
    std::vector<double> scores, weights;  // ascending; a part with n images counts 1/n each

    Calibration() = default;
    explicit Calibration(const nlohmann::json& fields);
    double p_value(double score) const;  // small = anomalous
};

// Boxes of connected map cells above the threshold, in frame pixels, largest peak first.
nlohmann::ordered_json find_regions(const cv::Mat& map, double threshold, cv::Size frame);
