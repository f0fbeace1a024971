#include "verdict.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <opencv2/imgproc.hpp>

Calibration::Calibration(const nlohmann::json& fields)
    : threshold(fields.at("threshold")),
      map_threshold(fields.at("map_threshold")),
      false_reject_rate(fields.at("false_reject_rate")),
      doubtful(fields.value("doubtful", 0)),
      scores(fields.at("scores").get<std::vector<double>>()),
      weights(scores.size(), 1.0) {
    if (fields.contains("views")) {
        const auto views = fields["views"].value("scores", std::vector<double>{});
        for (std::size_t i = 0; i < views.size(); ++i) weights.at(i) = 1 / views[i];
    }
    const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
    parts = std::max(1.0, std::nearbyint(sum));
}

double Calibration::p_value(double score) const {
    const auto first = std::lower_bound(scores.begin(), scores.end(), score) - scores.begin();
    const double at_least = std::accumulate(weights.begin() + first, weights.end(), 0.0);
    return (1 + at_least + doubtful) / (parts + doubtful + 1);
}

nlohmann::ordered_json find_regions(const cv::Mat& map, double threshold, cv::Size frame) {
    auto found = nlohmann::ordered_json::array();
    if (map.total() == 1) return found;  // a 1x1 map has no place in it
    cv::Mat above, labels, stats, centroids;
    cv::compare(map, static_cast<float>(threshold), above, cv::CMP_GT);
    const int count = cv::connectedComponentsWithStats(above, labels, stats, centroids, 8);
    const double scale_x = static_cast<double>(frame.width) / map.cols;
    const double scale_y = static_cast<double>(frame.height) / map.rows;
    for (int label = 1; label < count; ++label) {
        const int* box = stats.ptr<int>(label);
        const cv::Rect cells(box[0], box[1], box[2], box[3]);
        double peak = 0;
        cv::minMaxLoc(map(cells), nullptr, &peak, nullptr, nullptr, labels(cells) == label);
        const int x0 = static_cast<int>(cells.x * scale_x);
        const int y0 = static_cast<int>(cells.y * scale_y);
        const int x1 = std::min(frame.width, cvCeil(cells.br().x * scale_x));
        const int y1 = std::min(frame.height, cvCeil(cells.br().y * scale_y));
        const double area = box[4] * scale_x * scale_y;
        found.push_back({{"x", x0}, {"y", y0}, {"width", x1 - x0}, {"height", y1 - y0},
                         {"area", std::nearbyint(area * 10) / 10}, {"peak", peak}});
    }
    std::stable_sort(found.begin(), found.end(),
                     [](const auto& a, const auto& b) { return a["peak"] > b["peak"]; });
    return found;
}
