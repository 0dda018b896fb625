/// Index words of one bank, as bit planes: word i of a group holds bit i of the indices of eight steps for all rows. Two
/// groups are kept, so that the next one fills while the present one is used. Writes are visible in the next cycle.
module index_buffer #(
    parameter int unsigned AxiBytes = 64,
    localparam int unsigned Rows = AxiBytes
) (
    input  logic         clk_i,
    input  logic         write_i,
    input  logic         write_group_i,
    input  logic [  1:0] write_plane_i,
    input  logic [8*Rows-1:0] write_data_i,
    input  logic         read_group_i,
    input  logic [  2:0] read_step_i,
    output logic [3*Rows-1:0] planes_o  // bit Rows*plane + row
);

  for (genvar plane = 0; plane < 3; plane++) begin : g_plane
    logic [8*Rows-1:0] group0_q, group1_q, group;
    always_ff @(posedge clk_i) begin
      if (write_i && write_plane_i == 2'(plane)) begin
        if (write_group_i) group1_q <= write_data_i;
        else group0_q <= write_data_i;
      end
    end
    assign group = read_group_i ? group1_q : group0_q;
    assign planes_o[Rows*plane+:Rows] = group[{read_step_i, {$clog2(Rows) {1'b0}}}+:Rows];
  end

`ifndef SYNTHESIS
  logic settled_q = 1'b0;
  always_ff @(posedge clk_i) begin
    settled_q <= 1'b1;
    assert (!settled_q || !write_i || write_plane_i != 2'd3) else $error("index_buffer: an index has three bits");
  end
`endif

endmodule
