"""The one script of a page: sorting tables and the crosshair of time charts.

It reads data from attributes and writes text nodes only, loads nothing and stores nothing. Charts with the same time axis
move their crosshairs together. Without it a page shows the same pictures and tables.
"""

PAGE_SCRIPT = """
(function () {
  "use strict";
  function all(selector, root) { return Array.prototype.slice.call(root.querySelectorAll(selector)); }

  all("table[data-sortable]", document).forEach(function (table) {
    all("thead th", table).forEach(function (head, column) {
      var button = head.querySelector("button");
      if (!button) { return; }
      button.addEventListener("click", function () {
        var up = head.getAttribute("aria-sort") !== "ascending";
        all("thead th", table).forEach(function (other) { other.removeAttribute("aria-sort"); });
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        var body = table.tBodies[0];
        var rows = all("tr", body).map(function (row, place) {
          var cell = row.cells[column];
          var key = cell.getAttribute("data-key");
          return { row: row, place: place, number: key === null ? NaN : Number(key), isNumber: key !== null, text: cell.textContent };
        });
        rows.sort(function (a, b) {
          if (a.isNumber !== b.isNumber) { return a.isNumber ? -1 : 1; }
          var order = a.isNumber ? a.number - b.number : a.text < b.text ? -1 : a.text > b.text ? 1 : 0;
          if (isNaN(order)) { order = 0; }
          return (up ? order : -order) || a.place - b.place;
        });
        rows.forEach(function (entry) { body.appendChild(entry.row); });
      });
    });
  });

  var NS = "http://www.w3.org/2000/svg";
  function svgElement(name, className) {
    var made = document.createElementNS(NS, name);
    made.setAttribute("class", className);
    made.setAttribute("visibility", "hidden");
    return made;
  }
  function nearest(xs, x) {
    var low = 0, high = xs.length - 1;
    while (high - low > 1) {
      var middle = (low + high) >> 1;
      if (xs[middle] <= x) { low = middle; } else { high = middle; }
    }
    return Math.abs(xs[high] - x) < Math.abs(x - xs[low]) ? high : low;
  }

  // A line is read at its nearest point, a step at the last change that had come by then.
  function placeAt(series, x) {
    var place = nearest(series.x, x);
    return series.step && series.x[place] > x + 0.5 && place > 0 ? place - 1 : place;
  }

  var charts = all("svg[data-hover]", document).map(function (svg) {
    var data = JSON.parse(svg.getAttribute("data-hover"));
    data.series.forEach(function (series, k) {
      if (series.x === 0) { series.x = data.series[k - 1].x; series.t = data.series[k - 1].t; }
    });
    var cursor = svgElement("line", "cursor");
    cursor.setAttribute("y1", data.box[1]);
    cursor.setAttribute("y2", data.box[3]);
    svg.appendChild(cursor);
    var dots = data.series.map(function (series) {
      var dot = svgElement("circle", "dot " + series.c);
      dot.setAttribute("r", 3.5);
      svg.appendChild(dot);
      return dot;
    });
    var tip = document.createElement("div");
    tip.className = "tip";
    tip.hidden = true;
    svg.parentNode.appendChild(tip);
    return { svg: svg, data: data, cursor: cursor, dots: dots, tip: tip, x: null };
  });

  function hide(chart) {
    chart.cursor.setAttribute("visibility", "hidden");
    chart.dots.forEach(function (dot) { dot.setAttribute("visibility", "hidden"); });
    chart.tip.hidden = true;
  }

  function show(chart, wanted) {
    var data = chart.data, best = null;
    data.series.forEach(function (series) {
      if (!series.x.length) { return; }
      var place = placeAt(series, wanted), away = Math.abs(series.x[place] - wanted);
      if (best === null || away < best.away) { best = { away: away, x: series.x[place], time: series.t[place] }; }
    });
    if (best === null) { return; }
    chart.x = best.x;
    chart.cursor.setAttribute("x1", best.x);
    chart.cursor.setAttribute("x2", best.x);
    chart.cursor.setAttribute("visibility", "visible");
    chart.tip.textContent = "";
    var head = document.createElement("b");
    head.textContent = best.time;
    chart.tip.appendChild(head);
    data.series.forEach(function (series, k) {
      var dot = chart.dots[k];
      dot.setAttribute("visibility", "hidden");
      if (!series.x.length) { return; }
      var place = placeAt(series, best.x), away = Math.abs(series.x[place] - best.x);
      if (away > 6 && (!series.step || series.x[place] > best.x)) { return; }
      dot.setAttribute("cx", away > 6 ? best.x : series.x[place]);
      if (series.y[place] !== null) {
        dot.setAttribute("cy", series.y[place]);
        dot.setAttribute("visibility", "visible");
      }
      var line = document.createElement("div");
      line.textContent = series.n + ": " + series.v[place];
      chart.tip.appendChild(line);
    });
    chart.tip.hidden = false;
    var frame = chart.svg.getBoundingClientRect(), parent = chart.svg.parentNode.getBoundingClientRect();
    var scale = frame.width / chart.svg.viewBox.baseVal.width;
    var left = frame.left - parent.left + best.x * scale;
    var width = chart.tip.offsetWidth;
    chart.tip.style.left = (left + 14 + width > parent.width ? Math.max(left - 14 - width, 0) : left + 14) + "px";
    chart.tip.style.top = frame.top - parent.top + data.box[1] * scale + 6 + "px";
  }

  function together(chart, x) {
    charts.forEach(function (other) {
      if (other === chart) { show(other, x); return; }
      if (chart.data.span === other.data.span) {
        var from = chart.data.box, to = other.data.box;
        show(other, to[0] + (x - from[0]) / (from[2] - from[0]) * (to[2] - to[0]));
      }
    });
  }
  function hideAll() { charts.forEach(hide); }

  charts.forEach(function (chart) {
    var svg = chart.svg;
    svg.addEventListener("pointermove", function (event) {
      var frame = svg.getBoundingClientRect();
      together(chart, (event.clientX - frame.left) * svg.viewBox.baseVal.width / frame.width);
    });
    svg.addEventListener("pointerleave", hideAll);
    svg.addEventListener("blur", hideAll);
    svg.addEventListener("keydown", function (event) {
      var step = { ArrowLeft: -8, ArrowRight: 8 }[event.key];
      if (!step) { if (event.key === "Escape") { hideAll(); } return; }
      event.preventDefault();
      var box = chart.data.box, x = (chart.x === null ? (box[0] + box[2]) / 2 : chart.x) + step;
      together(chart, Math.min(Math.max(x, box[0]), box[2]));
    });
  });
})();
"""
