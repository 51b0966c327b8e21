// All words of the page, in English and Chinese.
import { CHANNELS_WORDS } from './channels-words.js';
import { recall, remember } from './dom.js';
import { LINKED_WORDS } from './linked-words.js';
import { PANEL_WORDS } from './panel-words.js';

/** @type {Record<string, string>} */
const EN = {
  ...PANEL_WORDS.en,
  ...LINKED_WORDS.en,
  ...CHANNELS_WORDS.en,
  'auto': 'Auto', 'auto.is': 'Auto ({0})', 'of': 'of {0}', 'close': 'Close', 'dismiss': 'Dismiss', 'back_to_map': 'Back to the map',
  'mode.title': 'View', 'mode.stage': 'Map', 'mode.grid': 'Grid', 'mode.channels': 'Channels', 'mode.compare': 'Compare',
  'pane.title': 'Parts of the page', 'pane.samples': 'Samples', 'pane.map': 'Map', 'pane.layers': 'Layers', 'pane.settings': 'Settings',
  'run.title': 'Run', 'run.live': 'live', 'run.live_words': 'The run is still being captured; new samples appear by themselves.',
  'run.facts': '{0} samples, {1} maps', 'language': '中文', 'language.title': '切换到中文', 'help': 'Keys', 'skip': 'Skip to the map',
  'resize.width': 'Width of the left column', 'resize.height': 'Height of the list of samples', 'loading': 'Loading…',

  'samples.title': 'Samples', 'samples.search': 'Search samples', 'samples.sort': 'Sort by', 'samples.count': '{0} of {1}',
  'samples.none': 'This run has no samples yet.', 'samples.none_found': 'No sample fits the search and the filters.',
  'samples.no_maps': 'no maps', 'samples.detections': '{0} det.', 'samples.truths': '{0} GT', 'samples.facts': 'Detections, objects of the ground truth, best score, smallest object', 'samples.smallest': '≥ {0} px',
  'sort.run': 'Order of the run', 'sort.name': 'Name', 'sort.detections': 'Detections', 'sort.truths': 'Ground truth', 'sort.score': 'Best score', 'sort.smallest': 'Smallest object',
  'sort.up': 'Ascending', 'sort.down': 'Descending',
  'filter.title': 'Filters', 'filter.clear': 'Clear', 'filter.class': 'Class', 'filter.any': 'Any', 'filter.score': 'Best score at least',
  'filter.objects': 'Objects', 'filter.objects_from': 'Objects, at least', 'filter.objects_to': 'Objects, at most',
  'filter.smallest': 'Smallest, px', 'filter.smallest_from': 'Smallest object in pixels, at least', 'filter.smallest_to': 'Smallest object in pixels, at most',

  'layers.title': 'Layers', 'layers.search': 'Search layers', 'layers.none': 'This run holds no maps.', 'layers.output': 'output', 'layers.level': 'level {0}',
  'layers.shape': '{0}: channels × rows × columns', 'layers.stride': 'Stride {0}: pixels of the network’s input per cell', 'layers.left': '{0} without maps',
  'place.assumed': 'The place of this map on the image is assumed, not proved.',

  'map.title': 'Map', 'reduce.title': 'Channels to one', 'reduce.auto': 'Auto', 'reduce.contrast': 'Contrast', 'reduce.mean': 'Mean', 'reduce.absmean': 'Mean of |values|',
  'reduce.max': 'Maximum', 'reduce.l2': 'L2 norm', 'reduce.std': 'Standard deviation', 'reduce.channel': 'One channel', 'channel.title': 'Channel', 'slice.title': 'Slice',
  'colours.title': 'Colours', 'colormap.title': 'Colour map', 'colormap.perceptual': 'Sequential', 'colormap.diverging': 'Diverging', 'colormap.other': 'Others',
  'range.title': 'Range', 'range.auto': 'Auto', 'range.map': 'Minimum to maximum', 'range.percentile': 'Percentiles', 'range.symmetric': 'Symmetric about 0', 'range.fixed': 'Fixed values',
  'range.numbers': 'From, to', 'range.low': 'Lower end of the range', 'range.high': 'Upper end of the range', 'range.say_percentile': '{0} to {1} %', 'range.say_symmetric': '± {0} %',
  'shared.title': 'One scale for all maps',
  'look.title': 'On the image', 'opacity.title': 'Opacity', 'photo.title': 'Image', 'photo.grey': 'Grey', 'photo.colour': 'Colour', 'photo.none': 'None',
  'fade.title': 'Fade low values', 'smooth.title': 'Smooth between cells',
  'boxes.title': 'Boxes', 'boxes.detections': 'Found', 'boxes.truth': 'Truth', 'boxes.both': 'Both', 'boxes.none': 'None', 'score.title': 'Score at least',
  'classes.title': 'Classes', 'classes.counts': '{0} detected, {1} in the ground truth', 'boxes.list': 'Boxes of this sample', 'boxes.size': 'Side of a square of the same area',
  'boxes.shown': '{0} of {1} detections', 'boxes.truths_shown': '{0} of {1} objects of the ground truth', 'boxes.first': '{0} of {1}; the first {2} are listed',
  'boxes.no_detections': 'No detections in this sample.', 'boxes.no_truth': 'No ground truth for this sample.',
  'source.one_source': 'one source', 'source.a_tie': 'a tie', 'source.not_found': 'source not found', 'source.not_traced': 'not traced', 'source.cell': 'level {0}, row {1}, col. {2}',
  'boxes.to_source': 'Show its cell: {0}', 'explanations.title': 'Stored explanations', 'explanations.compute': 'Explain it at {0}', 'explanations.computing': '{0}: computing …',

  'share.title': 'Share', 'share.link': 'Copy link', 'share.command': 'Copy command', 'share.save': 'Save picture',
  'share.link_copied': 'Link copied', 'share.command_copied': 'Copied: {0}', 'share.saved': 'Saved as {0}',
  'hover.value': 'value', 'hover.cell': 'row {0}, column {1}', 'hover.pixel': 'x {0}, y {1}', 'hover.stride': 'stride {0}', 'hover.none': 'Point at the map to read its values',
  'stage.no_maps': 'This sample has no maps.', 'stage.no_image': 'The image of this sample is not at hand; the map is shown alone.',
  'stage.no_samples': 'This run has no samples yet.',
  'note.layer': 'This sample has no map of {0}; the nearest is shown: {1}.', 'note.level': 'There is no level {0} here; level {1} is shown.',
  'note.sample': 'This run has no sample {0}; the first one is shown.', 'note.run': 'There is no run {0}; the first one is shown.', 'note.explanation': 'This sample has no stored explanation {0}; the map is shown.',
  'note.ignored': 'Not understood in the address, and left out: {0}',

  'error.gone': 'featscope view does not answer. Is it still running? The page asks again at your next step.',
  'error.status': 'The server answered with status {0}.', 'error.broken': 'The answer of the server is damaged.',
  'error.not_in_report': 'This report does not contain it; open the run with featscope view.', 'error.copy': 'The browser did not allow copying.', 'error.nothing': 'There is no map to draw.',

  'keys.title': 'Keys', 'key.next': 'Next sample', 'key.previous': 'Previous sample', 'key.level_down': 'Level before', 'key.level_up': 'Level after',
  'key.layer_up': 'Layer before', 'key.layer_down': 'Layer after', 'key.modes': 'Map, grid, channels, compare', 'key.reduce': 'Next reduction', 'key.colormap': 'Next colour map',
  'key.range': 'Next kind of range', 'key.shared': 'One scale for all maps', 'key.opacity': 'More, less opacity', 'key.boxes': 'Which boxes', 'key.fit': 'Fit the image', 'key.link': 'Copy link',
  'key.save': 'Save picture', 'key.search': 'Search samples', 'key.escape': 'Deselect, dismiss', 'key.help': 'This list',
};

/** @type {Record<string, string>} */
const ZH = {
  ...PANEL_WORDS.zh,
  ...LINKED_WORDS.zh,
  ...CHANNELS_WORDS.zh,
  'auto': '自动', 'auto.is': '自动（{0}）', 'of': '共 {0}', 'close': '关闭', 'dismiss': '知道了', 'back_to_map': '回到特征图',
  'mode.title': '视图', 'mode.stage': '特征图', 'mode.grid': '网格', 'mode.channels': '通道', 'mode.compare': '对比',
  'pane.title': '页面的各部分', 'pane.samples': '样本', 'pane.map': '特征图', 'pane.layers': '层', 'pane.settings': '设置',
  'run.title': '运行', 'run.live': '进行中', 'run.live_words': '捕获仍在进行，新样本会自动出现。',
  'run.facts': '{0} 个样本，{1} 张特征图', 'language': 'English', 'language.title': 'Switch to English', 'help': '快捷键', 'skip': '跳到特征图',
  'resize.width': '左栏宽度', 'resize.height': '样本列表高度', 'loading': '正在加载…',

  'samples.title': '样本', 'samples.search': '搜索样本', 'samples.sort': '排序方式', 'samples.count': '{0} / {1}',
  'samples.none': '这次运行还没有样本。', 'samples.none_found': '没有符合搜索和筛选条件的样本。',
  'samples.no_maps': '无特征图', 'samples.detections': '检测 {0}', 'samples.truths': '真值 {0}', 'samples.facts': '检测数、真值数、最高分、最小目标', 'samples.smallest': '≥ {0} px',
  'sort.run': '运行顺序', 'sort.name': '名称', 'sort.detections': '检测数', 'sort.truths': '真值数', 'sort.score': '最高分', 'sort.smallest': '最小目标',
  'sort.up': '升序', 'sort.down': '降序',
  'filter.title': '筛选', 'filter.clear': '清除', 'filter.class': '类别', 'filter.any': '不限', 'filter.score': '最高分不低于',
  'filter.objects': '目标数', 'filter.objects_from': '目标数下限', 'filter.objects_to': '目标数上限',
  'filter.smallest': '最小目标（px）', 'filter.smallest_from': '最小目标边长下限（像素）', 'filter.smallest_to': '最小目标边长上限（像素）',

  'layers.title': '层', 'layers.search': '搜索层', 'layers.none': '这次运行没有特征图。', 'layers.output': '输出', 'layers.level': '第 {0} 级',
  'layers.shape': '{0}：通道 × 行 × 列', 'layers.stride': '步长 {0}：每个单元对应的网络输入像素数', 'layers.left': '{0} 层没有特征图',
  'place.assumed': '这张特征图在图像上的位置是假定的，未经证实。',

  'map.title': '特征图', 'reduce.title': '通道归约', 'reduce.auto': '自动', 'reduce.contrast': '对比度', 'reduce.mean': '均值', 'reduce.absmean': '绝对值均值',
  'reduce.max': '最大值', 'reduce.l2': 'L2 范数', 'reduce.std': '标准差', 'reduce.channel': '单个通道', 'channel.title': '通道', 'slice.title': '切片',
  'colours.title': '颜色', 'colormap.title': '色图', 'colormap.perceptual': '顺序色图', 'colormap.diverging': '发散色图', 'colormap.other': '其他',
  'range.title': '取值范围', 'range.auto': '自动', 'range.map': '最小值到最大值', 'range.percentile': '百分位', 'range.symmetric': '关于 0 对称', 'range.fixed': '固定数值',
  'range.numbers': '从、到', 'range.low': '范围下端', 'range.high': '范围上端', 'range.say_percentile': '{0}–{1} 百分位', 'range.say_symmetric': '±{0} 百分位',
  'shared.title': '所有图共用一个色标',
  'look.title': '叠加', 'opacity.title': '不透明度', 'photo.title': '原图', 'photo.grey': '灰度', 'photo.colour': '彩色', 'photo.none': '不显示',
  'fade.title': '淡化低值', 'smooth.title': '单元间平滑插值',
  'boxes.title': '框', 'boxes.detections': '检测', 'boxes.truth': '真值', 'boxes.both': '两者', 'boxes.none': '无', 'score.title': '分数不低于',
  'classes.title': '类别', 'classes.counts': '检测到 {0} 个，真值 {1} 个', 'boxes.list': '这个样本的框', 'boxes.size': '同面积正方形的边长',
  'boxes.shown': '{1} 个检测框中的 {0} 个', 'boxes.truths_shown': '{1} 个真值目标中的 {0} 个', 'boxes.first': '{1} 个中的 {0} 个，只列出前 {2} 个',
  'boxes.no_detections': '这个样本没有检测框。', 'boxes.no_truth': '这个样本没有真值。',
  'source.one_source': '来源唯一', 'source.a_tie': '来源并列', 'source.not_found': '未找到来源', 'source.not_traced': '未追溯', 'source.cell': '第 {0} 级，行 {1}，列 {2}',
  'boxes.to_source': '显示它的来源单元：{0}', 'explanations.title': '已存的解释', 'explanations.compute': '在 {0} 处解释', 'explanations.computing': '{0}：正在计算 …',

  'share.title': '分享', 'share.link': '复制链接', 'share.command': '复制命令', 'share.save': '保存图片',
  'share.link_copied': '链接已复制', 'share.command_copied': '已复制：{0}', 'share.saved': '已保存为 {0}',
  'hover.value': '值', 'hover.cell': '行 {0}，列 {1}', 'hover.pixel': 'x {0}，y {1}', 'hover.stride': '步长 {0}', 'hover.none': '把指针移到特征图上读取数值',
  'stage.no_maps': '这个样本没有特征图。', 'stage.no_image': '找不到这个样本的图像，只显示特征图。',
  'stage.no_samples': '这次运行还没有样本。',
  'note.layer': '这个样本没有 {0} 的特征图，改为显示最接近的 {1}。', 'note.level': '这里没有第 {0} 级，改为显示第 {1} 级。',
  'note.sample': '这次运行没有样本 {0}，改为显示第一个。', 'note.run': '没有编号为 {0} 的运行，改为显示第一个。', 'note.explanation': '这个样本没有已存的解释 {0}，改为显示特征图。',
  'note.ignored': '地址中有无法识别的部分，已忽略：{0}',

  'error.gone': 'featscope view 没有响应，它还在运行吗？下次操作时页面会再次请求。',
  'error.status': '服务器返回状态码 {0}。', 'error.broken': '服务器返回的数据已损坏。',
  'error.not_in_report': '这份报告不含该内容，请用 featscope view 打开运行。', 'error.copy': '浏览器不允许复制。', 'error.nothing': '没有可绘制的特征图。',

  'keys.title': '快捷键', 'key.next': '下一个样本', 'key.previous': '上一个样本', 'key.level_down': '上一级', 'key.level_up': '下一级',
  'key.layer_up': '上一层', 'key.layer_down': '下一层', 'key.modes': '特征图、网格、通道、对比', 'key.reduce': '下一种归约', 'key.colormap': '下一个色图',
  'key.range': '下一种取值范围', 'key.shared': '所有图共用一个色标', 'key.opacity': '增减不透明度', 'key.boxes': '切换框', 'key.fit': '适应窗口', 'key.link': '复制链接',
  'key.save': '保存图片', 'key.search': '搜索样本', 'key.escape': '取消选择、关闭提示', 'key.help': '本列表',
};

/** @type {Record<'en'|'zh', Record<string, string>>} */
export const WORDS = { en: EN, zh: ZH };

/** @returns {'en'|'zh'} */
function wanted() {
  const kept = recall('language');
  if (kept === 'en' || kept === 'zh') return kept;
  return globalThis.navigator?.language?.startsWith('zh') ? 'zh' : 'en';
}

export const language = wanted();

/** The other language, from the next loading on. */
export function switchLanguage() {
  remember('language', language === 'en' ? 'zh' : 'en');
}

/** The words for a key; {0}, {1} are filled with values. A key without words is shown as its first value, or as it is. @param {string} key @param {...(string|number|null)} values */
export function t(key, ...values) {
  const text = WORDS[language][key] ?? EN[key];
  if (text === undefined) return String(values[0] ?? key);
  return text.replace(/\{(\d)\}/g, (_, at) => String(values[Number(at)] ?? ''));
}
